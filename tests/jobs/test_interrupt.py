import subprocess
import sys

# A handler that takes a lock, as Snakemake's does, and a signal while the main thread holds it.
PROCESS = """
import os, signal
from threading import Event, Lock
from labelsim.jobs.interrupt import handle_termination

lock, ended = Lock(), Event()

def end(number, frame):
    with lock:
        ended.set()

signal.signal(signal.SIGTERM, end)
handle_termination()
with lock:
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(1000):
        pass
ended.wait()
print("ended")
"""


def test_sigterm_while_the_main_thread_holds_the_lock_of_its_handler():
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "ended\n")


def test_sigterm_without_a_handler_ends_as_ever():
    code = "import os, signal; from labelsim.jobs.interrupt import handle_termination; handle_termination(); "
    done = subprocess.run([sys.executable, "-c", code + "os.kill(os.getpid(), signal.SIGTERM)"], timeout=100)
    assert done.returncode == -15
