"""What is wrong with a cluster file: `check_cluster`. Nothing is started.

Ray's own validation lets through an open dashboard, missing files and misspelt instance types;
this adds those. No network, no cloud credentials.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import stat
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowpwm.safe_yaml import YamlError, read_mapping

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

# What EC2 RunInstances takes, as Ray passes it on.
_AWS_NODE_KEYS = frozenset(
    {
        "BlockDeviceMappings",
        "CapacityReservationSpecification",
        "CpuOptions",
        "CreditSpecification",
        "DisableApiStop",
        "DisableApiTermination",
        "EbsOptimized",
        "EnclaveOptions",
        "HibernationOptions",
        "IamInstanceProfile",
        "ImageId",
        "InstanceInitiatedShutdownBehavior",
        "InstanceMarketOptions",
        "InstanceType",
        "Ipv6AddressCount",
        "Ipv6Addresses",
        "KernelId",
        "KeyName",
        "LaunchTemplate",
        "LicenseSpecifications",
        "MaintenanceOptions",
        "MetadataOptions",
        "Monitoring",
        "NetworkInterfaces",
        "Placement",
        "PrivateDnsNameOptions",
        "PrivateIpAddress",
        "RamdiskId",
        "SecurityGroupIds",
        "SecurityGroups",
        "SubnetId",
        "SubnetIds",
        "TagSpecifications",
        "UserData",
    }
)
_NODE_KEYS = {"aws": _AWS_NODE_KEYS}
#: Commands run on every node, in one of which shared storage is mounted.
_SETUP = ("initialization_commands", "setup_commands", "worker_setup_commands")
_MOUNT = re.compile(r"\bmount\b|\bmount[._-]\w+|fuse\b|\bs3fs\b")
_EXAMPLES = {
    "203.0.113.0/24": "your own address range",
    "fs-00000000": "the id of your shared file system",
}
_SECRET = re.compile(
    r"(?i)\b\w*(?:api_?key|secret|passw(?:or)?d|token)\w*\s*[=:]\s*['\"]?[\w/+-]{16,}"
)
_DASHBOARD = re.compile(r"--dashboard-host[= ]+(?P<host>[^\s'\"]+)")


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a file, or with `error=False` one to set before use."""

    where: str
    message: str
    error: bool = True
    line: int | None = None


def check_cluster(path: Path) -> list[Finding]:
    """Everything wrong with a cluster file; an unreadable one is one finding."""
    try:
        document = read_mapping(path, yaml_1_1=True)
    except YamlError as error:
        return [Finding("the file", error.problem, line=error.line)]
    config = document.values
    found = list(_check_ray(config))
    # Ray's message on a wrong shape is enough; the rules below need the right one.
    if isinstance(config.get("available_node_types"), dict):
        found += [*_check_nodes(config), *_check_commands(config), *_check_storage(config)]
    found += _check_mounts(config, path.parent)
    lines = {".".join(keys): line for keys, line in document.lines.items()}
    return [*(_with_line(finding, lines) for finding in found), *_check_text(document.text)]


def _with_line(finding: Finding, lines: Mapping[str, int]) -> Finding:
    """The finding with the line of the longest key that it is about."""
    about = [key for key in lines if f"{finding.where}.".startswith(f"{key}.")]
    line = lines[max(about, key=len)] if about else None
    return dataclasses.replace(finding, line=line)


def _check_ray(config: Mapping[str, Any]) -> Iterator[Finding]:
    """What Ray itself refuses, as `ray up` would after its defaults are filled in."""
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(deepcopy(dict(config))))
    except jsonschema.ValidationError as error:
        yield Finding(".".join(map(str, error.absolute_path)) or "top level", error.message)
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError) as error:
        yield Finding("top level", f"Ray refuses it: {error}")


def _check_nodes(config: Mapping[str, Any]) -> Iterator[Finding]:
    types = config["available_node_types"]
    provider = config.get("provider")
    provider_type = provider.get("type") if isinstance(provider, dict) else None
    known = _NODE_KEYS.get(str(provider_type), frozenset())
    for name, node in types.items():
        if not isinstance(node, dict):
            continue
        where = f"available_node_types.{name}"
        low = node.get("min_workers", 0)
        high = node.get("max_workers", config.get("max_workers", 2))
        if isinstance(low, int) and isinstance(high, int) and low > high:
            yield Finding(where, f"min_workers {low} is more than max_workers {high}")
        node_config = node.get("node_config")
        if known and isinstance(node_config, dict):
            for key in sorted(node_config.keys() - known):
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                yield Finding(f"{where}.node_config.{key}", f"unknown key {key!r}{hint}")
    head = types.get(config.get("head_node_type"))
    if isinstance(head, dict) and (head.get("resources") or {}).get("CPU") != 0:
        yield Finding(
            f"available_node_types.{config['head_node_type']}.resources",
            "must have CPU: 0, or trials run beside the driver and take its memory",
        )


def _check_commands(config: Mapping[str, Any]) -> Iterator[Finding]:
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = [str(command) for command in config.get(key) or ()]
        starts = [command for command in commands if "ray start" in command]
        if not starts:
            yield Finding(key, "has no `ray start`; Ray's default has no token and no umask")
        for command in starts:
            if "RAY_AUTH_MODE=token" not in command:
                yield Finding(key, "must export RAY_AUTH_MODE=token before `ray start`")
            if "umask 077" not in command:
                yield Finding(key, "must set umask 077 before `ray start`: session files hold data")
            hosts = [match["host"] for match in _DASHBOARD.finditer(command)]
            for host in hosts:
                if host not in _LOOPBACK:
                    yield Finding(
                        key,
                        f"--dashboard-host={host} opens job submission to the network; "
                        "use 127.0.0.1 and `ray dashboard`",
                    )


def _check_storage(config: Mapping[str, Any]) -> Iterator[Finding]:
    """That results and checkpoints are the same on every node that a trial may move to."""
    commands = [str(command) for key in _SETUP for command in config.get(key) or ()]
    several = config.get("max_workers", 2) != 0
    if several and not any(map(_MOUNT.search, commands)):
        provider = config.get("provider")
        local = isinstance(provider, dict) and provider.get("type") == "local"
        yield Finding(
            "setup_commands",
            "mount no storage that all nodes share: a trial that moves to another node would not "
            "find its checkpoint; mount one (NFS, EFS, Lustre) and put results there",
            error=not local,  # machines of one's own may share their home
        )


def _check_mounts(config: Mapping[str, Any], base: Path) -> Iterator[Finding]:
    mounts = config.get("file_mounts")
    if not isinstance(mounts, dict):
        mounts = {}
    for remote, local in mounts.items():
        where = f"file_mounts.{remote}"
        path = base / Path(str(local)).expanduser()
        is_token = str(remote).endswith("auth_token")
        if not path.exists():
            make = "; make it: (umask 077; ray get-auth-token --generate)" if is_token else ""
            yield Finding(where, f"no local file or folder {local}{make}")
        elif is_token and (mode := stat.S_IMODE(path.stat().st_mode)) & 0o077:
            yield Finding(
                where, f"{local} has mode {mode:04o}, others can read it; chmod 600 {local}"
            )
    if not any(str(remote).endswith("auth_token") for remote in mounts):
        yield Finding("file_mounts", "has no ~/.ray/auth_token: nodes could not join with a token")


def _check_text(text: str) -> Iterator[Finding]:
    for number, line in enumerate(text.splitlines(), 1):
        code = line.partition(" #")[0] if not line.lstrip().startswith("#") else ""
        if _SECRET.search(code):
            message = "looks like a secret; keep it in a file of mode 0600"
            yield Finding("the text", message, line=number)
        for example, meaning in _EXAMPLES.items():
            if example in code:
                message = f"{example} is the example's; put in {meaning}"
                yield Finding("the text", message, error=False, line=number)
