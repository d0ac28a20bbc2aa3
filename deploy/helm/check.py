"""Renders, validates, and checks the chart; see `check`."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import helm_python
import kubernetes_validate
import yaml
from helm_python import chart as charts

HERE = Path(__file__).parent
VERSIONS = [f"1.{minor}" for minor in range(29, 38)]
# The schemas know Kubernetes' own kinds alone.
OTHERS = {"HTTPRoute", "ServiceMonitor"}
SETS = {
    "defaults": {},
    "mounted": {"flags": {"from": "configmap"}},
    "another ConfigMap": {"flags": {"configMap": "our-flags"}, "serviceAccount": {"name": "ours"}},
    "nats": {"flags": {"from": "nats", "nats": {"servers": ["nats://n-1:4222", "tls://n-2"], "credentialsSecret": "creds"}}},
    "everything": {
        "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": [{"name": "registry"}]},
        "ingress": {"enabled": True, "className": "nginx", "host": "www.example.com", "tlsSecret": "tls", "annotations": {"a": "b"}},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["www.example.com"]},
        "networkPolicy": {"enabled": True},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "env": [{"name": "TZ", "value": "UTC"}],
        "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}],
        "volumeMounts": [{"name": "tls", "mountPath": "/etc/tls", "readOnly": True}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
             "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "backsoon"}}}
        ],
        "podAnnotations": {"a": "b"}, "podLabels": {"team": "web"},
    },
    "no budget": {"podDisruptionBudget": {"enabled": False}, "replicas": 1},
    "sidecar": {"mode": "sidecar"},
    "sidecar with labels": {"mode": "sidecar", "sidecar": {"podLabels": {"app": "shop"}}, "flags": {"from": "configmap"}},
}
REFUSED = {
    "an unknown value": {"replica": 3},
    "an unknown mode": {"mode": "daemon"},
    "a port": {"ports": {"http": 70000}},
    "a digest": {"image": {"digest": "latest"}},
    "no server": {"flags": {"from": "nats"}},
    "no gateway": {"httpRoute": {"enabled": True}},
    "what the chart writes": {"config": 'workers = 1\n[routes.web]\nupstream = "http://web"'},
    "a listener of its own": {"config": '[[listen]]\naddress = "0.0.0.0:1"\n[routes.web]\nupstream = "http://web"'},
}


def documents(chart, values):
    """Returns the manifests."""
    chart.validate_schema(values)
    texts = chart.render(values=values, name="gate", namespace="shop").items()
    return [one for name, text in texts if name.endswith(".yaml") for one in yaml.safe_load_all(text) if one]


def checked(backsoon, manifests):
    """Checks the config that the pods would get."""
    texts = [one["data"]["backsoon.toml"] for one in manifests if "backsoon.toml" in one.get("data", {})]
    assert len(texts) == 1, "one config"
    flags = [one["data"]["maintenance.toml"] for one in manifests if "maintenance.toml" in one.get("data", {})]
    with tempfile.TemporaryDirectory() as directory:
        places = {"/etc/backsoon-flags": f"{directory}/flags", "/var/lib/backsoon": f"{directory}/state", "/etc/backsoon-nats": directory}
        text = texts[0]
        for place, there in places.items():
            text = text.replace(place, there)
        for one in ("flags", "state"):
            (Path(directory) / one).mkdir()
        (Path(directory) / "flags/maintenance.toml").write_text(flags[0] if flags else "[routes]\n")
        (Path(directory) / "credentials").write_text("user:password")
        (Path(directory) / "credentials").chmod(0o600)
        config = Path(directory) / "backsoon.toml"
        config.write_text(text)
        run = subprocess.run([backsoon, "check", "--config", config], capture_output=True, text=True, timeout=60)
        output = run.stdout + run.stderr
        assert "error" not in output, f"{output}\n{text}"


PARENT = """
apiVersion: apps/v1
kind: Deployment
metadata: { name: shop }
spec:
  selector: { matchLabels: { app: shop } }
  template:
    metadata: { labels: { app: shop } }
    spec:
      initContainers:
        - {{- include "backsoon.sidecar" .Subcharts.backsoon | nindent 10 }}
      securityContext: { fsGroup: 65532 }
      containers:
        - { name: app, image: "shop:1.0.0" }
      volumes:
        {{- include "backsoon.volumes" .Subcharts.backsoon | nindent 8 }}
"""


def sidecar(directory):
    """Renders a chart that has the container in its own pods, as README.md shows."""
    parent = Path(directory)
    shutil.copytree(HERE, parent / "charts/backsoon")
    (parent / "templates").mkdir()
    (parent / "Chart.yaml").write_text(
        "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies:\n- { name: backsoon, version: 0.x }\n"
    )
    (parent / "templates/deployment.yaml").write_text(PARENT)
    values = {"backsoon": {"mode": "sidecar", "sidecar": {"podLabels": {"app": "shop"}}}}
    with charts.Chart.load(parent) as chart:
        manifests = documents(chart, values)
    for version in VERSIONS:
        for one in manifests:
            kubernetes_validate.validate(one, version, strict=True)
    pod = next(one for one in manifests if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    assert pod["initContainers"][0]["restartPolicy"] == "Always", pod
    config = next(one for one in manifests if "backsoon.toml" in one.get("data", {}))
    assert pod["volumes"][0]["configMap"]["name"] == config["metadata"]["name"], pod
    print(f"in another chart: {', '.join(sorted(one['kind'] for one in manifests))}")


def main(backsoon):
    failures = 0
    with charts.Chart.load(HERE) as chart:
        for name, values in SETS.items():
            try:
                manifests = documents(chart, values)
                for version in VERSIONS:
                    for one in manifests:
                        if one["kind"] not in OTHERS:
                            kubernetes_validate.validate(one, version, strict=True)
                checked(backsoon, manifests)
                print(f"{name}: {', '.join(sorted(one['kind'] for one in manifests))}")
            except Exception as error:  # noqa: BLE001: each failure is told, and counted
                failures += 1
                print(f"FAILED: {name}: {type(error).__name__}: {str(error)[:600]}")
        with tempfile.TemporaryDirectory() as directory:
            sidecar(directory)
        for name, values in REFUSED.items():
            try:
                documents(chart, values)
                failures += 1
                print(f"FAILED: {name} is not refused")
            except helm_python.HelmError as error:
                print(f"refused, {name}: {str(error).strip().splitlines()[-1][:160]}")
    print(f"{failures} failures")
    return min(failures, 1)


sys.exit(main(sys.argv[1]))
