#!/usr/bin/env python3
"""A client of the orchestrator in another language, from the protos and docs/protocol.md alone: shakes hands,
submits (twice, under one request id), watches, pauses, resumes, cancels, reads logs, and meets the errors.

    python_client.py BIN PROTO     # the built programs; the directory that holds retort/v1

Runs a real `retort-orchestrator serve` on a free port. Needs grpcio-tools (requirements.txt). Exit status 0:
everything was as the protocol says; else an assertion says what was not.
"""
import importlib
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import grpc
from grpc_tools import protoc

DEADLINE_SECONDS = 10  # docs/protocol.md, "Deadlines": all others


def generate(proto: pathlib.Path, out: pathlib.Path) -> None:
    files = sorted(str(file) for file in (proto / "retort/v1").glob("*.proto"))
    code = protoc.main(["protoc", f"-I{proto}", f"--python_out={out}", f"--grpc_python_out={out}", *files])
    assert code == 0, f"protoc ended with {code}"
    sys.path.insert(0, str(out))


def start_orchestrator(binaries: pathlib.Path, directory: pathlib.Path) -> tuple[subprocess.Popen, str]:
    address_file = directory / "address"
    process = subprocess.Popen(
        [binaries / "retort-orchestrator", "serve", "--state", directory / "state", "--listen", "127.0.0.1:0",
         "--address-file", address_file])
    give_up = time.monotonic() + 60
    while not address_file.exists():
        assert process.poll() is None and time.monotonic() < give_up, "the orchestrator does not start"
        time.sleep(0.05)
    return process, address_file.read_text().strip()


def small_job(job_pb2):
    """As core/config leaves a job: every field set."""
    job = job_pb2.JobSpec(name="from-python", micro_batch=2)
    job.teacher.path = "teacher"
    job.student.mixer = job_pb2.MIXER_KIND_MAMBA2
    job.student.state_size = 16
    job.student.groups = 1
    job.student.keep_attention.layers.append(1)
    job.student.init = job_pb2.STUDENT_INIT_QKVO
    job.data.train.append("corpus/train.bin")
    job.data.eval = "corpus/eval.bin"
    job.data.seq_len = 64
    job.data.seed = 7
    for budget in (job.stages.matrix_orientation.budget, job.stages.hidden_state_alignment.budget):
        budget.tokens, budget.tokens_per_step, budget.lr = 5120, 256, 3e-3
    job.stages.hidden_state_alignment.target = job_pb2.ALIGNMENT_TARGET_MIXER
    job.stages.hidden_state_alignment.train = job_pb2.TRAIN_SCOPE_MIXER
    job.checkpoint.every_steps = 8
    job.evaluation.tokens = 2048
    return job


class Watcher(threading.Thread):
    """Reads a run's watch stream to its end."""

    def __init__(self, stub, request):
        super().__init__(daemon=True)
        self.parts, self.stream = [], stub.Watch(request)
        self.start()

    def run(self):
        for part in self.stream:
            self.parts.append(part)

    def events(self):
        return [part.event for part in self.parts if part.HasField("event")]


def expect_error(code: grpc.StatusCode, call, request) -> str:
    try:
        reply = call(request, timeout=DEADLINE_SECONDS)
    except grpc.RpcError as error:
        assert error.code() == code, f"{error.code()} instead of {code}: {error.details()}"
        assert error.details(), f"{code} without a message"
        return error.details()
    raise AssertionError(f"{code} was expected, not the reply {reply}")


def converse(address: str, pb2, job_pb2, work_pb2, stub) -> None:
    def call(method, request):
        return method(request, timeout=DEADLINE_SECONDS)

    version = call(stub.GetVersion, pb2.GetVersionRequest())
    assert version.protocol_min <= 1 <= version.protocol_max, version

    submit = pb2.SubmitRequest(request_id="interop-1", job=small_job(job_pb2), priority=3)
    run_id = call(stub.Submit, submit).run_id
    assert call(stub.Submit, submit).run_id == run_id, "a repeated request makes no second run"
    run = pb2.RunRef(id=run_id)
    submit.priority = 4
    assert "interop-1" in expect_error(grpc.StatusCode.INVALID_ARGUMENT, stub.Submit, submit)
    again = pb2.SubmitRequest(request_id="interop-2", job=small_job(job_pb2))
    assert "from-python" in expect_error(grpc.StatusCode.ALREADY_EXISTS, stub.Submit, again)
    bad = pb2.SubmitRequest(request_id="interop-3", job=job_pb2.JobSpec(name="No Name"))
    expect_error(grpc.StatusCode.INVALID_ARGUMENT, stub.Submit, bad)

    watcher = Watcher(stub, pb2.WatchRequest(run=run))
    status = call(stub.Get, pb2.GetRequest(run=pb2.RunRef(name="from-python")))
    assert status.run.summary.state == work_pb2.RUN_STATE_QUEUED and status.run.summary.priority == 3, status
    assert [summary.name for summary in call(stub.List, pb2.ListRequest()).runs] == ["from-python"]
    assert not call(stub.ListWorkers, pb2.ListWorkersRequest()).workers

    paused = call(stub.Pause, pb2.PauseRequest(request_id="interop-4", run=run)).state
    assert paused in (work_pb2.RUN_STATE_PAUSING, work_pb2.RUN_STATE_PAUSED), paused
    call(stub.Resume, pb2.ResumeRequest(request_id="interop-5", run=run))
    expect_error(grpc.StatusCode.FAILED_PRECONDITION, stub.Retry, pb2.RetryRequest(request_id="interop-6", run=run))
    cancelled = call(stub.Cancel, pb2.CancelRequest(request_id="interop-7", run=run)).state
    assert cancelled in (work_pb2.RUN_STATE_CANCELLING, work_pb2.RUN_STATE_CANCELLED), cancelled

    watcher.join(timeout=60)
    assert not watcher.is_alive(), "the watch does not end with the run"
    assert watcher.stream.code() == grpc.StatusCode.OK, watcher.stream.details()
    assert watcher.parts[0].HasField("snapshot") and watcher.parts[-1].HasField("snapshot")
    assert watcher.parts[-1].snapshot.summary.state == work_pb2.RUN_STATE_CANCELLED
    sequences = [event.sequence for event in watcher.events()]
    assert sequences == sorted(set(sequences)) and sequences, sequences
    kinds = [event.kind for event in watcher.events()]
    assert kinds[0] == work_pb2.EVENT_KIND_RUN_SUBMITTED, kinds
    later = Watcher(stub, pb2.WatchRequest(run=run, after_sequence=sequences[0]))
    later.join(timeout=60)
    assert [event.sequence for event in later.events()] == sequences[1:]

    lines = [line for reply in stub.Logs(pb2.LogsRequest(run=run), timeout=60) for line in reply.lines]
    assert any("from-python" in line.text for line in lines), lines
    download = stub.Download(pb2.DownloadRequest(run=run), timeout=60)
    try:
        list(download)
        raise AssertionError("a cancelled run was downloaded")
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error.code()
    assert "7077" in expect_error(grpc.StatusCode.NOT_FOUND, stub.Get, pb2.GetRequest(run=pb2.RunRef(id=7077)))


def main(binaries: str, proto: str) -> None:
    with tempfile.TemporaryDirectory(prefix="retort_interop_") as name:
        directory = pathlib.Path(name)
        generate(pathlib.Path(proto), directory)
        pb2, job_pb2, work_pb2, services = (
            importlib.import_module(f"retort.v1.{module}")
            for module in ("run_service_pb2", "job_pb2", "work_pb2", "run_service_pb2_grpc"))
        process, address = start_orchestrator(pathlib.Path(binaries), directory)
        try:
            with grpc.insecure_channel(address) as channel:
                converse(address, pb2, job_pb2, work_pb2, services.RunServiceStub(channel))
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 0, "SIGTERM ends an orchestrator with 0"
        finally:
            process.kill()
            process.wait()
    print("python client: handshake, submit, watch, pause, resume, cancel, logs and errors are as documented")


if __name__ == "__main__":
    main(*sys.argv[1:])
