"""serve-config: files that TensorFlow Serving, nginx, compose and Kubernetes read as they were meant."""
import json
import math
import os
import re
import shutil
import subprocess
import time

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from polysed_keras.cli.main import main
from polysed_keras.errors import InputError
from polysed_keras.serving.deployment import find_exports, write_deployment

from fixtures import CLIPS, POWERSET, shared_export

CONFIGS = ("models.config", "batching.config", "monitoring.config", "gateway.conf")
INT64, STRING, BOOL, MESSAGE = 3, 9, 8, 11  # FieldDescriptorProto.Type


def transcribed(name, fields):
    """A message class as a .proto file of TensorFlow Serving has it that tensorflow-serving-api leaves out."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="polysed_test", syntax="proto3",
                                              dependency=["google/protobuf/wrappers.proto"])
    outer = file.message_type.add(name=name)
    for number, (field, kind) in enumerate(fields.items(), 1):
        if isinstance(kind, dict):
            inner = outer.nested_type.add(name=field.title())
            for place, (key, type_) in enumerate(kind.items(), 1):
                inner.field.add(name=key, number=place, type=type_, label=1)
            kind = f".polysed_test.{name}.{field.title()}"
        if isinstance(kind, str):
            outer.field.add(name=field, number=number, type=MESSAGE, type_name=kind, label=1)
        else:
            outer.field.add(name=field, number=number, type=kind, label=3 if field == "allowed_batch_sizes" else 1)
    pool = descriptor_pool.Default()
    wrappers_pb2.Int64Value()  # its file is in the pool
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"polysed_test.{name}"))


WRAPPED = ".google.protobuf.Int64Value"
# servables/tensorflow/session_bundle_config.proto and config/monitoring_config.proto
BatchingParameters = transcribed("BatchingParameters", {
    "max_batch_size": WRAPPED, "batch_timeout_micros": WRAPPED, "max_enqueued_batches": WRAPPED,
    "num_batch_threads": WRAPPED,
    "thread_pool_name": ".google.protobuf.StringValue", "allowed_batch_sizes": INT64,
    "pad_variable_length_inputs": BOOL})
MonitoringConfig = transcribed("MonitoringConfig", {"prometheus_config": {"enable": BOOL, "path": STRING}})


def parse(path, message):
    return text_format.Parse(path.read_text(), message)


def model_config(path):
    pb2 = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2",
                              reason="tensorflow-serving-api is not installed: pip install -e '.[serving]'")
    return parse(path, pb2.ModelServerConfig()).model_config_list.config


def export(folder, name, version, sample_rate=44100, **card):
    """What of an export counts here: a folder with a graph and a card."""
    target = folder / name / str(version)
    target.mkdir(parents=True)
    (target / "saved_model.pb").write_bytes(b"")
    card = {"sample_rate": sample_rate, "segment_frames": 128, "hop_length": sample_rate // 50, **card}
    (target / "card.json").write_text(json.dumps(card))
    return folder


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "saved_models"
    for name, version in (("street", 2), ("street", 10), ("bird_song", 1)):
        export(folder, name, version)
    (folder / "street" / "11").mkdir()  # without a graph
    (folder / "street" / ".12-half").mkdir()
    (folder / "README.md").write_text("an index")
    return folder


@pytest.fixture
def deploy(models):
    write_deployment(models, models.parent / "deploy")
    return models.parent / "deploy"


def documents(path):
    return {document["kind"]: document for document in yaml.safe_load_all(path.read_text())}


def test_exports_are_found_by_name_and_version(models):
    found = find_exports(models)
    assert {name: list(versions) for name, versions in found.items()} == {"bird_song": [1], "street": [2, 10]}
    assert found["street"][10]["sample_rate"] == 44100


def test_models_are_served_by_their_names_from_their_folders(models, deploy):
    configs = model_config(deploy / "models.config")
    assert [(config.name, config.base_path, config.model_platform) for config in configs] == [
        ("bird_song", "/models/bird_song", "tensorflow"), ("street", "/models/street", "tensorflow")]
    assert all(config.model_version_policy.latest.num_versions == 2 for config in configs)
    comments = re.findall(r"# version (.*)", (deploy / "models.config").read_text())
    assert comments == [", ".join(map(str, versions)) for versions in find_exports(models).values()] == ["1", "2, 10"]


@pytest.mark.parametrize("folder", ['say "hi"', "back\\slash", "Rohrsänger", "a: b # c", "$name {", "two words"])
def test_odd_folders_stay_what_they_are(folder, tmp_path):
    write_deployment(export(tmp_path / folder, "street", 1), tmp_path / "deploy")
    serving = yaml.safe_load((tmp_path / "deploy" / "compose.yaml").read_text())["services"]["serving"]
    assert serving["volumes"][0]["source"] == f"../{folder.replace('$', '$$')}"  # $ begins a variable there


@pytest.mark.parametrize("name", ["two words", "Rohrsänger", 'say "hi"', "a:b"])
def test_names_that_no_address_holds_are_an_error(name, tmp_path):
    with pytest.raises(InputError, match="expected names of letters, digits"):
        write_deployment(export(tmp_path / "saved_models", name, 1), tmp_path / "deploy")


def test_limits_are_those_asked_for(models, tmp_path, capsys):
    out = tmp_path / "deploy"
    assert main(["serve-config", str(models), "--out", str(out), "--max-seconds", "300", "--max-batch", "4",
                 "--max-queue", "7",
                 "--timeout", "45"]) == 0
    assert sorted(capsys.readouterr().out.split()) == sorted(str(path) for path in out.iterdir())
    batching = parse(out / "batching.config", BatchingParameters())
    assert (batching.max_batch_size.value, batching.max_enqueued_batches.value) == (4, 7)
    assert batching.num_batch_threads.value > 0 and batching.batch_timeout_micros.value > 0
    assert not batching.pad_variable_length_inputs and not batching.allowed_batch_sizes
    limit = int(re.search(r"client_max_body_size (\d+)m;", (out / "gateway.conf").read_text())[1])
    four_files_in_base64 = 4 * 4 * math.ceil((44 + 300 * 44100 * 4) / 3)
    assert four_files_in_base64 < limit * 2 ** 20 < 1.02 * four_files_in_base64 + 2 ** 21
    assert "grpc_read_timeout 45s" in (out / "gateway.conf").read_text()
    assert "--rest_api_timeout_in_ms=45000" in (out / "compose.yaml").read_text()


def test_limits_suit_the_models_by_default(models, deploy):
    """A client sends 16 segments and the context of their last frame; memory holds what waits and what is answered."""
    assert "# 4 files of 42 s" in (deploy / "gateway.conf").read_text()
    memory = yaml.safe_load((deploy / "compose.yaml").read_text())["services"]["serving"]["mem_limit"]
    batching = parse(deploy / "batching.config", BatchingParameters())
    waiting = (batching.max_enqueued_batches.value + batching.num_batch_threads.value) * 4 * 42 * 44100 * 4
    assert 2 * 2 ** 30 + 2 * waiting < int(memory.removesuffix("g")) * 2 ** 30 < 3 * 2 ** 30 + 4 * waiting
    export(models, "scenes", 1, segment_frames=500)
    write_deployment(models, deploy.parent / "again")
    assert "# 4 files of 161 s" in (deploy.parent / "again" / "gateway.conf").read_text()


def test_metrics_are_for_prometheus(deploy):
    config = parse(deploy / "monitoring.config", MonitoringConfig()).prometheus_config
    annotations = documents(deploy / "kubernetes.yaml")["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert config.enable and config.path == annotations["prometheus.io/path"]


def test_compose_runs_the_official_images_on_a_cpu_or_a_gpu(deploy, models):
    compose = yaml.safe_load((deploy / "compose.yaml").read_text())
    gateway, cpu, gpu = (compose["services"][name] for name in ("gateway", "serving", "serving-gpu"))
    assert cpu["image"].startswith("tensorflow/serving:") and gpu["image"] == cpu["image"] + "-gpu"
    assert (cpu["profiles"], gpu["profiles"]) == (["cpu"], ["gpu"])
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"] and "deploy" not in cpu
    assert cpu["command"] == gpu["command"] and cpu["network_mode"] == gpu["network_mode"] == "service:gateway"
    mount = cpu["volumes"][0]
    assert (deploy / mount["source"]).resolve() == models.resolve()
    assert mount["target"] == "/models" and mount["read_only"]
    files = [word.partition("=")[2] for word in cpu["command"] if "file=/config/" in word]
    assert {file.removeprefix("/config/") for file in files} == set(CONFIGS) - {"gateway.conf"}
    assert all((deploy / file.removeprefix("/config/")).is_file() for file in files)
    listening = set(re.findall(r"listen (\d+)", (deploy / "gateway.conf").read_text()))
    assert {port.rpartition(":")[2] for port in gateway["ports"]} == listening == {"9500", "9501"}


def test_kubernetes_gives_pods_no_more_than_they_need(deploy):
    found = documents(deploy / "kubernetes.yaml")
    pod = found["Deployment"]["spec"]["template"]
    assert pod["spec"]["automountServiceAccountToken"] is False and pod["spec"]["securityContext"]["runAsNonRoot"]
    for container in pod["spec"]["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert [mount for mount in container["volumeMounts"] if not mount.get("readOnly")] == [
            {"name": "temporary", "mountPath": "/tmp"}]
    policy, ports = found["NetworkPolicy"]["spec"], {}
    assert policy["podSelector"]["matchLabels"] == pod["metadata"]["labels"]
    assert policy["egress"] == [] and set(policy["policyTypes"]) == {"Ingress", "Egress"}
    for rule in policy["ingress"]:
        ports |= {port["port"]: rule["from"] for port in rule["ports"]}
    opened = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
    assert set(ports) == opened and ports["grpc"] == ports["rest"] == [{"podSelector": {}}]


def test_kubernetes_probes_and_scales(deploy):
    found = documents(deploy / "kubernetes.yaml")
    pod = found["Deployment"]["spec"]["template"]["spec"]
    serving, gateway = pod["containers"]
    compose = yaml.safe_load((deploy / "compose.yaml").read_text())["services"]
    assert (serving["image"], serving["args"]) == (compose["serving"]["image"], compose["serving"]["command"])
    assert gateway["image"] == compose["gateway"]["image"]
    assert serving["resources"]["limits"]["memory"] == compose["serving"]["mem_limit"].upper() + "i"
    # the metadata of a model is there only where it can answer; its state is told while it loads, too
    assert serving["readinessProbe"]["httpGet"]["path"] == serving["livenessProbe"]["httpGet"]["path"] + "/metadata"
    assert serving["startupProbe"]["failureThreshold"] * serving["startupProbe"]["periodSeconds"] >= 120
    scaler = found["HorizontalPodAutoscaler"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]
    assert scaler["minReplicas"] < scaler["maxReplicas"] and "replicas" not in found["Deployment"]["spec"]
    assert scaler["metrics"][0]["containerResource"]["container"] == serving["name"]
    assert found["Service"]["spec"]["selector"] == found["Deployment"]["spec"]["selector"]["matchLabels"]
    ports = {port["name"]: port["containerPort"] for container in pod["containers"] for port in container["ports"]}
    assert {ports[port["targetPort"]] for port in found["Service"]["spec"]["ports"]} == {9500, 9501}
    volumes = {volume["name"] for volume in pod["volumes"]}
    assert {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]} == volumes
    claim = pod["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim == found["PersistentVolumeClaim"]["metadata"]["name"]
    (generated,) = yaml.safe_load((deploy / "kustomization.yaml").read_text())["configMapGenerator"]
    assert set(generated["files"]) == set(CONFIGS) and generated["name"] == pod["volumes"][1]["configMap"]["name"]


def test_kubectl_puts_it_together(deploy):
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    result = subprocess.run(["kubectl", "kustomize", deploy], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    built = {document["kind"]: document for document in yaml.safe_load_all(result.stdout)}
    assert built["ConfigMap"]["data"] == {name: (deploy / name).read_text() for name in CONFIGS}
    pod = built["Deployment"]["spec"]["template"]["spec"]
    assert pod["volumes"][1]["configMap"]["name"] == built["ConfigMap"]["metadata"]["name"] != "polysed-serving"


def test_real_exports_are_configured(tmp_path):
    for experiment in (POWERSET, CLIPS):
        shutil.copytree(shared_export(experiment), tmp_path / "saved_models" / experiment.name)
    write_deployment(tmp_path / "saved_models", tmp_path / "deploy")
    assert [config.name for config in model_config(tmp_path / "deploy" / "models.config")] == [
        "tiny_clips", "tiny_tasks"]


# Mistakes

def test_a_folder_without_exports_is_an_error(tmp_path, capsys):
    (tmp_path / "saved_models" / "street").mkdir(parents=True)
    assert main(["serve-config", str(tmp_path / "saved_models"), "--out", str(tmp_path / "deploy")]) == 2
    errors = capsys.readouterr().err
    assert f"{tmp_path / 'saved_models'}: expected exported models" in errors and "polysed export RUN --out" in errors
    assert not (tmp_path / "deploy").exists()
    for missing in (tmp_path / "nowhere", tmp_path / "saved_models" / "street"):
        with pytest.raises(InputError, match="Received: none there"):
            write_deployment(missing, tmp_path / "deploy")


@pytest.mark.parametrize("content, message", [
    ("{", "expected a readable JSON file"), ("{}", "with sample_rate"),
    ('{"sample_rate": 1e-320, "segment_frames": 128, "hop_length": 882}', "sample_rate: expected `int`"),
    ('{"sample_rate": 0, "segment_frames": 128, "hop_length": 882}', "with sample_rate"),
    ('{"sample_rate": 44100, "segment_frames": 128, "hop_length": []}', "hop_length: expected `int`"),
    ("[" * 9999, "expected a readable JSON file")])
def test_an_export_without_a_card_is_an_error(content, message, models, tmp_path):
    (models / "street" / "2" / "card.json").write_text(content)
    with pytest.raises(InputError, match=message):
        write_deployment(models, tmp_path / "deploy")
    assert not (tmp_path / "deploy").exists()


@pytest.mark.parametrize("limits, message", [
    ({"max_seconds": 41}, "max-seconds: expected 42 or more, a chunk of a client. Received: 41"),
    ({"max_batch": 0}, "max-batch: expected 1 or more. Received: 0"),
    ({"max_queue": -1}, "max-queue"), ({"timeout": 0}, "timeout")])
def test_limits_that_clients_would_break_are_an_error(limits, message, models, tmp_path):
    with pytest.raises(InputError, match=message):
        write_deployment(models, tmp_path / "deploy", **limits)


def test_what_is_there_is_not_overwritten(deploy, models):
    with pytest.raises(InputError, match="exists already"):
        write_deployment(models, deploy)


# The gateway and the check of health themselves

@pytest.fixture
def server():
    pytest.importorskip("tensorflow_serving.apis", reason="tensorflow-serving-api is not installed")
    from model_server import ModelServer
    server = ModelServer({"tiny_tasks": {1: shared_export(POWERSET) / "1"}})
    yield server
    server.close()


def test_the_check_of_health_sees_whether_a_model_is_there(server, tmp_path):
    write_deployment(export(tmp_path / "saved_models", "tiny_tasks", 1), tmp_path / "deploy")
    services = yaml.safe_load((tmp_path / "deploy" / "compose.yaml").read_text())["services"]
    command = services["serving"]["healthcheck"]["test"][1:]
    for old, new, code in (("8501", str(server.rest_port), 0), ("tiny_tasks", "tiny", 1),
                           (str(server.rest_port), "1", 1)):
        command[-1] = command[-1].replace(old, new)
        assert subprocess.run(command, capture_output=True, timeout=5).returncode == code, command

@pytest.fixture
def gateway(deploy, server, tmp_path):
    """nginx with the gateway's configuration, before ports of one's own."""
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed")
    from model_server import free_port
    text, ports = (deploy / "gateway.conf").read_text(), (free_port(), free_port())
    for old, new in zip(("8500", "8501", "9500", "9501"), (server.port, server.rest_port, *ports)):
        text = text.replace(old, str(new))
    text = re.sub(r"client_max_body_size \d+m", "client_max_body_size 1m", text).replace("/tmp/", f"{tmp_path}/")
    user = "" if os.getuid() else "user root;"
    (tmp_path / "nginx.conf").write_text(f"daemon off; {user}\n{text}")
    process = subprocess.Popen(["nginx", "-p", tmp_path, "-c", tmp_path / "nginx.conf"], stderr=subprocess.PIPE)
    time.sleep(0.5)
    assert process.poll() is None, process.stderr.read()
    yield f"127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"
    process.terminate()
    process.wait()


def test_the_gateway_passes_requests_and_turns_large_ones_away(gateway):
    import numpy as np

    from polysed_keras.export.saved_model import load_saved_model
    from polysed_keras.serving.client import connect
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, 40_000).astype(np.float32)
    expected = load_saved_model(shared_export(POWERSET)).posteriors(waveform)
    for address in gateway:
        detector = connect(address, "tiny_tasks", timeout=10)
        for received, alone in zip(detector.posteriors(waveform), expected):
            np.testing.assert_allclose(received, alone, atol=1e-5)
        with pytest.raises(ConnectionError, match="RESOURCE_EXHAUSTED"):
            detector.posteriors(np.zeros(400_000, np.float32), segments_per_block=100)
