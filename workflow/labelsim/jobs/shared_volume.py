"""Snakemake on clouds whose jobs share a volume: `python -m labelsim.jobs.shared_volume`, then Snakemake's own options.

The executor plugins for Kubernetes, AWS Batch and Google Batch say that their jobs share no file system. Snakemake 9.27
then ignores `--shared-fs-usage` and hands over only declared files, through an object store. A run needs more than
these: the chunks of its stores, of which only the root file is declared, its shards, and its journals.
"""

from __future__ import annotations

from dataclasses import replace

from snakemake.cli import main
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

__all__ = ["assume_shared_volume"]


def assume_shared_volume() -> None:
    """Let `--shared-fs-usage`, whose default is that all is shared, hold for every executor."""
    for plugin in ExecutorPluginRegistry().plugins.values():
        shared = {"implies_no_shared_fs": False, "auto_deploy_default_storage_provider": False}
        plugin.common_settings = replace(plugin.common_settings, **shared)


if __name__ == "__main__":
    assume_shared_volume()
    main()
