# labelsim and all that it needs, for processors and NVIDIA GPUs: docs/containers.md.
FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="labelsim" \
      org.opencontainers.image.description="Finds the classes that a network treats as most similar, for every class of an image dataset" \
      org.opencontainers.image.licenses="MIT"

# Triton compiles what runs on the GPU with a C compiler.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*

# What the package depends on, in the versions of requirements.txt and without its development tools. The wheels of torch
# bring CUDA. This layer is made again only when one of the two files changes.
WORKDIR /opt/labelsim
COPY pyproject.toml requirements.txt ./
RUN pip install --no-cache-dir uv==0.13.9 \
    && uv pip install --system --no-cache --compile-bytecode --constraint requirements.txt \
        --requirement pyproject.toml --extra demo --extra timm --extra slurm \
    && pip uninstall --yes uv

# Executors of clouds, for example: --build-arg PLUGINS="snakemake-executor-plugin-kubernetes==0.5.1"
ARG PLUGINS=""
# hadolint ignore=DL3013
RUN test -z "$PLUGINS" || pip install --no-cache-dir $PLUGINS

# The workflow, in one place with the package that it runs.
COPY LICENSE README.md Snakefile ./
COPY config config
COPY rules rules
COPY workflow workflow
RUN ln -s workflow/profiles profiles \
    && PIP_CONSTRAINT=requirements.txt pip install --no-cache-dir --no-deps --editable . \
    && python -m compileall -q workflow

# Clusters run containers as users whom the image does not know: all of them can write here, and have a name.
RUN useradd --uid 1000 --create-home labelsim \
    && mkdir /work \
    && chmod 1777 /home/labelsim /work
ENV HOME=/home/labelsim USER=labelsim
USER 1000
WORKDIR /work

# No entry point, as the executors of clouds start a shell: docker run … snakemake …, docker run … labelsim …
CMD ["labelsim", "--help"]
