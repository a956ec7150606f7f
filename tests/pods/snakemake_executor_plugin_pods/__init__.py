"""A stand-in for the executors of clouds: each job is a process that starts in an empty folder, as in a pod."""

import subprocess
import tempfile

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

# As in the plugins for Kubernetes (0.5.1), AWS Batch (0.2.1) and Google Batch (0.5.1).
common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    job_deploy_sources=True,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=True,
)


class Executor(RemoteExecutor):
    def __post_init__(self):
        self.next_seconds_between_status_checks = 0.2
        self.processes = {}

    def run_job(self, job):
        command = ["/bin/sh", "-c", self.format_job_exec(job)]
        process = subprocess.Popen(command, cwd=tempfile.mkdtemp(prefix="pod-", dir=self.tmpdir))
        self.processes[str(process.pid)] = process
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=str(process.pid)))

    async def check_active_jobs(self, active_jobs):
        for info in active_jobs:
            code = self.processes[info.external_jobid].poll()
            if code is None:
                yield info
            elif code == 0:
                self.report_job_success(info)
            else:
                self.report_job_error(info)

    def cancel_jobs(self, active_jobs):
        for info in active_jobs:
            self.processes[info.external_jobid].terminate()
