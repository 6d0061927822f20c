"""The several machines of `deploy/`, for real and without containers: PostgreSQL, an S3 server, a Prefect server, an MLflow server and two workers
in clones of their own that share nothing but those services. The rebuild of ten chapters must leave the committed ``dvc.lock``."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import environment
from postgresql import INSTALLED, postgres

from dlbooks import runtime, services

pytestmark = pytest.mark.pipeline
CHAPTERS = (
    "parabola layer-lab mnist-softmax word2vec maze-q-learning maze-sarsa series-ar series-lstm series-lstm-multivariate input-pipeline-lab".split()
)
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def cluster(clone, tmp_path_factory):
    """The services and two clones with a worker each; yields the environment of whoever uses them."""
    if not INSTALLED:
        pytest.skip("PostgreSQL is not installed here (Debian's package postgresql): the several machines are not tried")
    pytest.importorskip("moto", reason="moto (an S3 server) is not installed")
    folder = tmp_path_factory.mktemp("cluster")
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres(folder / "postgres"))
        s3, prefect, mlflow = (services.free_port() for _ in range(3))
        endpoint = f"http://127.0.0.1:{s3}"
        shared = {
            **environment(clone, **KEYS),
            **runtime.QUIET,
            "AWS_ENDPOINT_URL": endpoint,
            "MLFLOW_S3_ENDPOINT_URL": endpoint,
            "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}",
            "DLBOOKS_REMOTE": "s3://dlbooks/dvc",
        }

        def start(name: str, command: list, cwd: Path = folder, **more: str):
            process = services.start([str(w) for w in command], {**shared, **more}, folder / f"{name}.log", cwd=cwd)
            stack.callback(services.stop, process)
            return process

        python = sys.executable
        running = start("s3", [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", s3])
        services.await_answer(endpoint + "/moto-api/", running, "S3", folder / "s3.log")
        import boto3

        client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1")
        for bucket in ("dlbooks", "mlflow"):
            client.create_bucket(Bucket=bucket)
        command = [python, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", prefect]
        where = f"postgresql+asyncpg://dlbooks@127.0.0.1:{database}/prefect"
        running = start("prefect", command, PREFECT_API_DATABASE_CONNECTION_URL=where, PREFECT_HOME=str(folder / "prefect-home"))
        command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", mlflow, "--workers", 1]
        command += ["--backend-store-uri", f"postgresql+psycopg2://dlbooks@127.0.0.1:{database}/mlflow", "--artifacts-destination", "s3://mlflow"]
        tracking = start("mlflow", command, MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
        services.await_answer(shared["PREFECT_API_URL"] + "/health", running, "Prefect", folder / "prefect.log")
        services.await_answer(shared["MLFLOW_TRACKING_URI"] + "/health", tracking, "MLflow", folder / "mlflow.log")
        for number in (1, 2):
            machine = folder / f"machine-{number}"
            subprocess.run(["git", "clone", "-q", str(clone), str(machine)], check=True)
            words = [python, "-m", "dlbooks.cli", "worker", "--pool", "cpu", "--name", machine.name, "--limit", "1"]
            start(machine.name, words, cwd=machine, PYTHONPATH=str(machine / "src"))
        yield shared, folder


def test_ten_chapters_on_two_machines_give_the_lock_of_a_serial_rebuild(clone, cluster):
    shared, folder = cluster
    before = (clone / "dvc.lock").read_text()
    command = [sys.executable, "-m", "dlbooks.cli", "repro", *CHAPTERS, "--pool", "cpu=cpu"]
    done = subprocess.run(command, cwd=clone, env={**shared, "PYTHONPATH": str(clone / "src")}, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all((clone / "data" / "runs" / name / "metrics.json").exists() for name in CHAPTERS)
    status = subprocess.run([Path(sys.executable).parent / "dvc", "status", *CHAPTERS], cwd=clone, env=shared, capture_output=True, text=True)
    assert "up to date" in status.stdout, status.stdout
    if "avx2" in runtime.cpu_flags():
        assert (clone / "dvc.lock").read_text() == before

    ran = {n: list((folder / f"machine-{n}" / ".dlbooks/rebuild/logs").glob("*.log")) for n in (1, 2)}
    assert all(len(logs) > 3 for logs in ran.values()), "both machines worked"
    assert not (clone / ".dlbooks/rebuild/logs").exists(), "and the checkout itself ran nothing"

    from mlflow import MlflowClient

    store = MlflowClient(shared["MLFLOW_TRACKING_URI"])
    runs = store.search_runs([e.experiment_id for e in store.search_experiments()], max_results=1000)
    finished = {r.data.tags["dlbooks.chapter"] for r in runs if r.info.status == "FINISHED" and "dlbooks.chapter" in r.data.tags}
    assert finished >= set(CHAPTERS) and not any(r.info.status == "RUNNING" for r in runs)
    one = next(r for r in runs if r.data.tags.get("dlbooks.chapter") == "parabola")
    assert {a.path for a in store.list_artifacts(one.info.run_id)} >= {"metrics.json"}, "artefacts went to S3 through the server"

    again = subprocess.run(command, cwd=clone, env={**shared, "PYTHONPATH": str(clone / "src")}, capture_output=True, text=True, timeout=100)
    assert again.returncode == 0 and "Nothing changed" in again.stdout
