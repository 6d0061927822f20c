"""The files for several machines are valid, hold no secret, and agree with each other, with the command line and with the locks."""

import functools
import http.server
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from importlib.metadata import requires
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import dlbooks
from dlbooks import runtime

DEPLOY = runtime.root() / "deploy"
MANIFESTS = sorted(f for f in (DEPLOY / "kubernetes").glob("*.yaml") if f.name != "kustomization.yaml")
NAMES = {"POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"}  # the secrets
SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|TOKEN|AUTH")
VALUES = dict.fromkeys(NAMES, "x")


@functools.cache
def documents(path: Path) -> list[dict]:
    return list(YAML(typ="safe").load_all(path.read_text()))


@functools.cache
def services() -> dict[str, dict]:
    """Compose's services by name."""
    return documents(DEPLOY / "compose.yaml")[0]["services"]


def objects(*kinds: str) -> list[dict]:
    return [d for f in MANIFESTS for d in documents(f) if d["kind"] in kinds]


@functools.cache
def kustomization() -> dict:
    return documents(DEPLOY / "kubernetes/kustomization.yaml")[0]


@functools.cache
def pods() -> dict[str, dict]:
    """Kubernetes' pods by the name of what makes them: the pod's spec, with its labels, the workload's kind and its claim templates."""
    found = {}
    for workload in objects("Deployment", "StatefulSet", "Job", "CronJob"):
        spec = workload["spec"]["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else workload["spec"]
        template = spec["template"]
        claims = [c["metadata"]["name"] for c in spec.get("volumeClaimTemplates", [])]
        found[workload["metadata"]["name"]] = {
            **template["spec"],
            "labels": template["metadata"]["labels"],
            "kind": workload["kind"],
            "claims": claims,
        }
    return found


def container(name: str) -> dict:
    (only,) = pods()[name]["containers"]
    return only


def is_job(name: str) -> bool:
    return pods()[name]["kind"] in ("Job", "CronJob")


def config_map(name: str) -> dict[str, str]:
    (made,) = [m for m in kustomization()["configMapGenerator"] if m["name"] == name]
    return dict(entry.split("=", 1) for entry in made["literals"])


def filled(text: str) -> str:
    """What Compose makes of ``${NAME:-default}``, given nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def commands() -> list[list[str]]:
    """Every command line of the manifests and of the README; those of a shell one by one."""
    lines = [[filled(w) for w in s["command"]] for s in services().values() if "command" in s]
    lines += [container(n)["args"] for n in pods() if "args" in container(n)]
    found = []
    for words in lines:
        found += [shlex.split(part) for part in re.split(r"&&|;", words[2])] if words[:2] == ["sh", "-c"] else [words]
    readme = (DEPLOY / "README.md").read_text()
    return found + [shlex.split(line) for line in re.findall(r"`((?:dlbooks|mlflow) (?:worker|repro|deploy|server)\b[^`]*)`", readme)]


# ── other people's checks ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_compose_fits_its_schema():
    schemas = pytest.importorskip("check_jsonschema.builtin_schemas")
    import jsonschema

    schema = schemas.get_builtin_schema("vendor.compose-spec")
    jsonschema.validators.validator_for(schema)(schema).validate(documents(DEPLOY / "compose.yaml")[0])


def test_docker_compose_reads_it(tmp_path):
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("`docker compose` is not here")
    command = [docker, "compose", "-f", DEPLOY / "compose.yaml", "--env-file", os.devnull, "--profile", "*", "config"]
    bare = {k: v for k, v in os.environ.items() if k not in NAMES}
    read = subprocess.run(command, env={**bare, **VALUES}, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    (tmp_path / "read.yaml").write_text(read.stdout)
    assert documents(tmp_path / "read.yaml")[0]["services"].keys() == services().keys()
    for name in NAMES:
        refused = subprocess.run(command, env={**bare, **VALUES, name: ""}, capture_output=True, text=True)
        assert refused.returncode and "set it in deploy/.env" in refused.stderr


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda f: f.stem)
def test_manifests_fit_kubernetes_schemas(path):
    validation = pytest.importorskip("kubernetes_validate")
    for document in documents(path):
        validation.validate(document, validation.latest_version(), strict=True)


def test_kubectl_puts_it_together(tmp_path):
    kubectl = shutil.which("kubectl")
    if not kubectl:
        pytest.skip("kubectl is not here")
    made = subprocess.run([kubectl, "kustomize", DEPLOY / "kubernetes"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    (tmp_path / "made.yaml").write_text(made.stdout)
    found = documents(tmp_path / "made.yaml")
    assert {(d["kind"], d["metadata"]["name"]) for d in found} >= {(d["kind"], d["metadata"]["name"]) for f in MANIFESTS for d in documents(f)}
    assert all(d["metadata"].get("namespace", "dlbooks") == "dlbooks" for d in found)
    maps = {d["metadata"]["name"] for d in found if d["kind"] == "ConfigMap"}
    assert set(re.findall(r"configMapRef:\s+name: (\S+)", made.stdout)) <= maps
    assert {f.name for f in MANIFESTS} == set(kustomization()["resources"])


# ── secrets ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_secret_stands_in_a_file():
    for name, service in services().items():
        for key, value in service.get("environment", {}).items():
            assert not SECRET.search(key) or re.fullmatch(r"\$\{(\w+):\?set it in deploy/\.env\}", value)[1] in NAMES, f"{name}: {key}"
    for name in pods():
        for entry in container(name).get("env", []):
            if SECRET.search(entry["name"]):
                reference = entry["valueFrom"]["secretKeyRef"]
                assert "value" not in entry and reference["name"] == "dlbooks" and reference["key"] in NAMES, f"{name}: {entry['name']}"
    assert not any(SECRET.search(key) for made in kustomization()["configMapGenerator"] for key in config_map(made["name"]))
    assert not objects("Secret")
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.name != ".env" and "__pycache__" not in path.parts:
            assert not re.search(r"://[^\s/@:]+:[^\s/@]+@", path.read_text()), f"a password in a URL of {path.name}"


def test_example_names_the_secrets_and_gives_none():
    lines = [line for line in (DEPLOY / "example.env").read_text().splitlines() if line and not line.startswith("#")]
    assert {line.partition("=")[0] for line in lines} == NAMES
    assert all(line.endswith("=") for line in lines)


# ── what runs ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("words", {shlex.join(w): w for w in commands() if w[0] == "dlbooks"}.values(), ids=shlex.join)
def test_our_command_lines_parse(words):
    from typer.main import get_command

    from dlbooks.cli import app

    group = get_command(app)
    context = group.make_context("dlbooks", words[1:])
    name, command, rest = group.resolve_command(context, words[1:])
    command.make_context(name, rest, parent=context)


def test_mlflow_knows_its_options():
    from mlflow.cli import cli

    lines = [w for w in commands() if w[:2] == ["mlflow", "server"] and len(w) > 2]
    assert lines
    for words in lines:
        made = cli.commands["server"].make_context("server", words[2:])
        assert made.params["host"] == "0.0.0.0" and "mlflow:5000" in made.params["allowed_hosts"].split(",")


def test_compose_and_kubernetes_run_the_same():
    assert services().keys() == pods().keys()
    for name, service in services().items():
        here = container(name)
        assert [filled(w) for w in service.get("command", [])] == here.get("args", []), name
        assert service["image"] == here["image"], name
        environment = {k: v for source in here.get("envFrom", []) for k, v in config_map(source["configMapRef"]["name"]).items()}
        environment |= {e["name"]: e["value"] for e in here.get("env", []) if "value" in e and e["name"] != "PGDATA"}
        assert {k: v for k, v in service.get("environment", {}).items() if not SECRET.search(k)} == {
            k: v for k, v in environment.items() if not SECRET.search(k)
        }, name


def test_images_are_pinned():
    images = {s["image"] for s in services().values()}
    images |= set(re.findall(r"^FROM (\S+:\S+)", (DEPLOY / "Dockerfile").read_text(), re.M))
    assert all(re.search(r":\d+(\.\d+)+(-\w+)*$", image) for image in images), images
    ours = {i for i in images if i.startswith("dlbooks")}
    assert ours == {f"dlbooks:{dlbooks.__version__}", f"dlbooks-gpu:{dlbooks.__version__}"}
    assert {f"{i['name']}:{i['newTag']}" for i in kustomization()["images"]} == ours
    for text in ("README.md", "Dockerfile"):
        assert set(re.findall(r"dlbooks(?:-gpu)?:\d[\d.]*\d", (DEPLOY / text).read_text())) == ours


def test_ports_are_on_loopback_and_hosts_exist():
    published = {name: [p.split(":") for p in s.get("ports", [])] for name, s in services().items()}
    assert all(p[0] == "127.0.0.1" for ports in published.values() for p in ports)
    listening = {s["metadata"]["name"]: {p["port"] for p in s["spec"].get("ports", [])} for s in objects("Service")}
    assert all(int(p[-1]) in listening[name] for name, ports in published.items() for p in ports)
    for path in [DEPLOY / "compose.yaml", *MANIFESTS, DEPLOY / "kubernetes/kustomization.yaml"]:
        named = re.findall(r"\b([a-z][a-z-]*):(\d{4,5})\b", path.read_text())
        assert all(int(port) in listening[host] and host in services() for host, port in named if host != "localhost"), named


def test_resources_and_health():
    for name, service in services().items():
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert service["restart"] == ("no" if is_job(name) else "unless-stopped"), name
        assert is_job(name) or service["healthcheck"]["test"][0] == "CMD", name
    for name in pods():
        here = container(name)
        assert all({"cpu", "memory"} <= here["resources"][k].keys() for k in ("requests", "limits")), name
        probes = {p for p in here if p.endswith("Probe")}
        servers = {"livenessProbe"} - ({"livenessProbe"} if name.startswith("worker") else set())
        assert probes == (set() if is_job(name) else {"startupProbe", "readinessProbe"} | servers), name
    assert container("worker-gpu")["resources"]["limits"]["nvidia.com/gpu"] == "1"
    (device,) = services()["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"] and len(device["device_ids"]) == 1


def test_dependencies_are_awaited():
    for name, service in services().items():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] == ("service_completed_successfully" if is_job(other) else "service_healthy"), f"{name} → {other}"


def test_pods_have_few_rights():
    for name, pod in pods().items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, f"{name}: MLFLOW_PORT and the like would come into the environment"
        about, here = pod["securityContext"], container(name)["securityContext"]
        assert about["runAsNonRoot"] and about["runAsUser"] > 0 and about["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert here["allowPrivilegeEscalation"] is False and here["capabilities"] == {"drop": ["ALL"]}, name
    for name, service in services().items():
        if service["image"].startswith("dlbooks"):
            assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name


def test_parts_of_the_manifests_find_each_other():
    labels = [p["labels"] for p in pods().values()]
    for workload in objects("Deployment", "StatefulSet"):
        assert pods()[workload["metadata"]["name"]]["labels"].items() >= workload["spec"]["selector"]["matchLabels"].items()
    ports = {p["name"] for n in pods() for p in container(n).get("ports", [])}
    for service in objects("Service"):
        assert service["spec"]["selector"] in labels, service["metadata"]["name"]
        assert {p["targetPort"] for p in service["spec"].get("ports", [])} <= ports
    for policy in objects("NetworkPolicy"):
        rules = policy["spec"].get("ingress", [])
        assert {p["port"] for r in rules for p in r["ports"]} <= ports
        selectors = [policy["spec"]["podSelector"], *(f["podSelector"] for r in rules for f in r["from"])]
        for selector in selectors:
            wanted = {v for e in selector.get("matchExpressions", []) for v in e["values"]} | set(selector.get("matchLabels", {}).values())
            assert wanted <= {one["app"] for one in labels}
    claims = {c["metadata"]["name"] for c in objects("PersistentVolumeClaim")}
    for name, pod in pods().items():
        assert {m["name"] for m in container(name).get("volumeMounts", [])} == {v["name"] for v in pod.get("volumes", [])} | set(pod["claims"])
        assert {v["persistentVolumeClaim"]["claimName"] for v in pod.get("volumes", []) if "persistentVolumeClaim" in v} <= claims


def test_rebuild_waits_to_be_asked():
    (cron,) = objects("CronJob")
    assert cron["spec"]["suspend"] is True and cron["spec"]["timeZone"] and cron["spec"]["concurrencyPolicy"] == "Forbid"
    assert services()["rebuild"]["profiles"] == ["rebuild"]
    assert services()["worker-gpu"]["profiles"] == ["gpu"]


# ── the image ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_image_is_what_the_makefile_makes():
    text = (DEPLOY / "Dockerfile").read_text()
    uv = re.search(r"^UV \?= (\S+)", (runtime.root() / "Makefile").read_text(), re.M)[1]
    assert f"uv=={uv}" in text and "--require-hashes -r requirements.lock" in text
    python = re.search(r"^FROM python:(\d+\.\d+)", text, re.M)[1]
    assert python in ("3.11", "3.12", "3.13")
    assert re.findall(r"^USER (\w+)", text, re.M)[-1] == "dlbooks"
    for name in ("DO_NOT_TRACK", "DVC_NO_ANALYTICS", "MLFLOW_DISABLE_TELEMETRY", "PREFECT_SERVER_ANALYTICS_ENABLED"):
        assert f"{name}={runtime.QUIET[name]}" in text


def test_image_leaves_out_what_git_ignores_and_nothing_else():
    ignore = DEPLOY / "Dockerfile.dockerignore"
    tracked = runtime.git("ls-files", "--cached", "--ignored", f"--exclude-from={ignore}")
    assert not tracked, f"git tracks what the image leaves out: {tracked}"
    listed = {line.removeprefix("**/").strip("/") for line in ignore.read_text().splitlines()}
    hidden = (runtime.root() / ".gitignore").read_text().splitlines()
    hidden += [f".dvc/{line.strip('/')}" for line in (runtime.root() / ".dvc/.gitignore").read_text().splitlines()]
    missing = {line.strip("/") for line in hidden if line and not line.startswith("#")} - listed
    assert not missing, f"the image would hold what git ignores: {missing}"
    assert {".git/config", "deploy/.env"} <= listed, "may hold passwords"


def test_gpu_libraries_are_those_that_tensorflow_asks_for():
    from packaging.requirements import Requirement

    wanted = [Requirement(r) for r in requires("tensorflow") if "nvidia" in r]
    if not wanted:
        pytest.skip("TensorFlow of this platform has no GPU libraries")
    text = (DEPLOY / "gpu.lock").read_text()
    locked = dict(re.findall(r"^(nvidia-[\w-]+)==(\S+)", text, re.M))
    assert {w.name for w in wanted} == locked.keys()
    assert all(w.specifier.contains(locked[w.name]) for w in wanted)
    tensorflow = re.search(r"^tensorflow==(\S+)", (runtime.root() / "requirements.lock").read_text(), re.M)[1]
    assert f"of tensorflow {tensorflow}" in text


def test_bucket_is_made_once_and_keeps_files(tmp_path):
    pytest.importorskip("boto3")
    seen = []

    class Store(http.server.BaseHTTPRequestHandler):
        def answer(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            there = self.command != "HEAD" or any(s == "PUT /dlbooks" for s in seen)
            seen.append(f"{self.command} {self.path}")
            self.send_response(200 if there else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_PUT = answer  # noqa: N815

        def log_message(self, *_):
            pass

    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        clean = {k: v for k, v in os.environ.items() if not k.startswith("AWS_") and not k.lower().endswith("_proxy")}
        aws = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        for _ in range(2):
            command = [sys.executable, DEPLOY / "bucket.py", tmp_path / "dvc.lock"]
            subprocess.run(command, env={**clean, **aws, "DLBOOKS_REMOTE": "s3://dlbooks/dvc"}, check=True, timeout=60)
        server.shutdown()
    assert seen.count("PUT /dlbooks") == 1
    assert len([s for s in seen if re.fullmatch(r"PUT /dlbooks/rebuilds/[\dTZ-]+/dvc\.lock", s)]) == 2
