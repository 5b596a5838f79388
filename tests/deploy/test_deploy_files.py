"""What deploy/ names is there: files, modules, commands, variables, services, versions, settings that Dagster takes."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shlex
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml
from dagster._core.instance.ref import InstanceRef
from packaging.requirements import Requirement

from hapi_pipeline.settings import project_root

ROOT = project_root()
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes" / "values.yaml").read_text())
SETTINGS: dict[str, Any] = yaml.safe_load((DEPLOY / "dagster.postgres.yaml").read_text())
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = {point.name for point in importlib.metadata.entry_points(group="console_scripts")}
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.name != "requirements.lock")


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile, an (instruction, arguments) for each."""
    text = re.sub(r"\\\n", " ", (DEPLOY / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(first, rest) for first, _, rest in (line.strip().partition(" ") for line in lines)]


def copied() -> list[str]:
    """What the image takes from the checkout."""
    found = []
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            found += shlex.split(rest)[:-1]
    return found


def commands() -> list[list[str]]:
    """Every command line that a container is started or looked at with."""
    found = [yaml.safe_load(rest.partition("CMD")[2] if word == "HEALTHCHECK" else rest)
             for word, rest in instructions() if word in ("CMD", "HEALTHCHECK")]  # fmt: skip
    for service in COMPOSE["services"].values():
        found += [service[key] for key in ("command", "entrypoint") if key in service]
        test = service.get("healthcheck", {}).get("test", [])
        found += [test[1:]] if test[:1] == ["CMD"] else []
    return [list(map(str, words)) for words in found]


# ---- the image


@pytest.mark.parametrize("source", copied())
def test_what_is_copied_into_the_image_is_there_and_let_in(source: str) -> None:
    assert (ROOT / source).exists()
    allowed = [line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"]
    assert any(source == name or source.startswith(f"{name}/") for name in allowed)


def test_the_image_lets_in_nothing_that_it_does_not_need() -> None:
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert next(line for line in lines if not line.startswith("#")) == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())


def test_what_the_wheel_is_made_of_is_copied() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["force-include"], *wheel["packages"], *PROJECT["license-files"]} <= set(copied())


def test_the_image_is_run_by_a_user_of_its_own_from_an_image_that_everybody_can_have() -> None:
    told = instructions()
    assert [rest for word, rest in told if word == "USER"][-1] not in ("root", "0")
    bases = [rest.split()[0] for word, rest in told if word == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim[-a-z]*", base) for base in bases)
    assert not any("://" in rest for _, rest in told)


def test_every_dependency_is_installed_by_its_hash() -> None:
    installs = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def locked(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==(\S+)", path.read_text(), re.M))


def test_the_image_has_the_versions_that_are_tested() -> None:
    image, tested = locked(DEPLOY / "requirements.lock"), locked(ROOT / "requirements.lock")
    assert {name for name in image.keys() & tested.keys() if image[name] != tested[name]} == set()
    blocks = re.split(r"^(?=\S+==)", (DEPLOY / "requirements.lock").read_text(), flags=re.M)[1:]
    assert all("--hash=sha256:" in block for block in blocks)
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["postgres"], *extras["kubernetes"], *extras["toolbox"]]
    lacking = [
        text for text in wanted if (r := Requirement(text)).name not in image or image[r.name] not in r.specifier
    ]
    assert lacking == []
    assert "hatchling" in image


# ---- what is run


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_and_modules_that_containers_run_are_there(words: list[str]) -> None:
    others = {"sh", "python", "pg_isready"}
    if words[0] == "sh":
        parts = re.split(r"&&|\|\||\n", words[-1].strip())
        assert {part.split()[0] for part in parts} <= {"mkdir", "cp", "[", *SCRIPTS}
    elif not words[0].startswith("-"):
        assert words[0] in SCRIPTS | others
    for flag, module in pairwise(words):
        assert flag != "-m" or importlib.util.find_spec(module)
    for word in words:
        for name in re.findall(r"/opt/hapi/deploy/(\S+)", word):
            assert f"deploy/{name}" in copied()


def test_the_chart_runs_the_same_module_and_version() -> None:
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    arguments = deployment["dagsterApiGrpcArgs"]
    assert importlib.util.find_spec(arguments[arguments.index("-m") + 1])
    pinned = next(d.partition("==")[2] for d in PROJECT["dependencies"] if d.startswith("dagster=="))
    assert f"--version {pinned} " in (DEPLOY / "kubernetes" / "values.yaml").read_text()
    assert deployment["image"]["tag"] == PROJECT["version"]
    extras = PROJECT["optional-dependencies"]
    family = f"0.{int(pinned.split('.')[1]) + 16}.{pinned.split('.')[2]}"
    assert extras["postgres"] == [f"dagster-postgres=={family}"]
    assert extras["kubernetes"] == [f"dagster-k8s=={family}"]


def test_webserver_and_daemon_find_the_code_under_its_name() -> None:
    (here,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    (there,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    server = there["grpc_server"]
    assert server["location_name"] == here["python_module"]["location_name"]
    assert server["host"] in COMPOSE["services"]
    (start,) = [words for words in commands() if "hapi_pipeline.code_server" in words]
    assert start[start.index("-p") + 1] == str(server["port"])


# ---- compose


def test_services_depend_on_services_and_mount_volumes_that_there_are() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        for volume in service["volumes"]:
            assert volume.partition(":")[0] in COMPOSE["volumes"]
        for name in service["env_file"]:
            assert (DEPLOY / f"{name}.example").exists()
    build = services["code"]["build"]
    assert (DEPLOY / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).exists()


def test_what_makes_attempts_is_given_time_to_finish_them_and_is_told_so_as_ctrl_c_would() -> None:
    services = COMPOSE["services"]
    paying = [name for name, service in services.items() if "providers.env" in service["env_file"]]
    assert {name: services[name]["stop_grace_period"] for name in paying} == {"code": "10m", "hapi": "10m"}
    assert all(services[name]["init"] for name in paying)  # a program that is process 1 does not get the signal
    assert services["hapi"]["stop_signal"] == "SIGINT"
    (start,) = [yaml.safe_load(rest) for word, rest in instructions() if word == "CMD"]
    assert start[:3] == ["python", "-m", "hapi_pipeline.code_server"]


def test_the_webserver_is_reached_from_the_machine_itself_only() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:3000:3000"]


# ---- variables and secrets


def test_every_variable_that_is_named_is_read_somewhere() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "hapi_pipeline").rglob("*.py"))
    for path in FILES:
        for name in set(re.findall(r"\bHAPI_[A-Z_]+", path.read_text())):
            assert f'"{name}"' in code or f"{{env: {name}}}" in (DEPLOY / "dagster.postgres.yaml").read_text(), name


def test_every_variable_of_the_settings_is_in_the_example() -> None:
    asked = set(re.findall(r"\{env: (\w+)\}", (DEPLOY / "dagster.postgres.yaml").read_text()))
    given = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "postgres.env.example").read_text(), re.M))
    assert asked <= set(given)
    assert {name for name, value in given.items() if "PASSWORD" in name and value} == set()
    assert given["HAPI_POSTGRES_HOST"] in COMPOSE["services"]
    assert given["HAPI_POSTGRES_USER"] == given["POSTGRES_USER"]
    assert given["HAPI_POSTGRES_DB"] == given["POSTGRES_DB"]


def test_no_secret_can_be_committed() -> None:
    assert "/deploy/*.env" in (ROOT / ".gitignore").read_text().splitlines()
    named = re.compile(
        r"(?i)^\s*-?\s*\w*(password|secret|token|api_key)\w*[ \t]*[:=][ \t]*[\"']?([^\s\"'{\[]\S*)", re.M
    )
    for path in FILES:
        found = [value for _, value in named.findall(path.read_text()) if not value.startswith(("hapi-", "{"))]
        assert set(found) <= {"false"}, path


# ---- settings of Dagster


def test_dagster_takes_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dagster_postgres", reason="needs the extra postgres")
    for name in re.findall(r"\{env: (\w+)\}", (DEPLOY / "dagster.postgres.yaml").read_text()):
        monkeypatch.setenv(name, "5432" if name.endswith("PORT") else "x")
    (tmp_path / "dagster.yaml").write_text((DEPLOY / "dagster.postgres.yaml").read_text())
    reference = InstanceRef.from_dir(str(tmp_path))
    assert reference.storage_data is not None
    assert reference.storage_data.class_name == "DagsterPostgresStorage"
    for scheme in (SETTINGS["storage"]["postgres"]["postgres_db"]["scheme"], VALUES["postgresql"]["postgresqlScheme"]):
        sqlalchemy.make_url(f"{scheme}://somebody@somewhere/x").get_dialect().import_dbapi()  # the driver is there
    assert reference.settings["concurrency"] == SETTINGS["concurrency"]


def test_dagster_takes_what_the_chart_adds_and_it_is_the_same(tmp_path: Path) -> None:
    added = VALUES["additionalInstanceConfig"]
    assert added["concurrency"] == SETTINGS["concurrency"]
    assert VALUES["dagsterDaemon"]["runCoordinator"]["enabled"] is False  # the two cannot stand together
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({**added, "telemetry": VALUES["telemetry"]}))
    assert InstanceRef.from_dir(str(tmp_path)).settings["concurrency"] == added["concurrency"]


def test_all_of_the_cluster_sees_the_home_and_dagsters_folder_within_it() -> None:
    (deployment,) = VALUES["dagster-user-deployments"]["deployments"]
    for pod in (deployment, VALUES["dagsterWebserver"], VALUES["dagsterDaemon"]):
        (mount,) = pod["volumeMounts"]
        assert mount["mountPath"] == pod["env"]["HAPI_HOME"]
        assert VALUES["global"]["dagsterHome"] == f"{pod['env']['HAPI_HOME']}/.dagster"
    told = dict(re.findall(r"(HAPI_HOME|DAGSTER_HOME)=(\S+)", (DEPLOY / "Dockerfile").read_text()))
    assert told["DAGSTER_HOME"] == f"{told['HAPI_HOME']}/.dagster"


def test_runs_that_wait_for_the_home_leave_places_to_workers() -> None:
    from hapi_pipeline.definitions import defs
    from hapi_pipeline.resources import ALONE, SHARED_BY_WORKERS

    limit = {"key": ALONE, "value": "yes", "limit": 1}
    here = yaml.safe_load((ROOT / "dagster.yaml").read_text())["concurrency"]["runs"]
    assert limit in here["tag_concurrency_limits"]
    assert limit in SETTINGS["concurrency"]["runs"]["tag_concurrency_limits"]
    jobs = [job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")]
    assert SHARED_BY_WORKERS in {job.name for job in jobs}
    assert {job.name for job in jobs if job.tags.get(ALONE) != "yes"} == set()
