"""Installer of a timer for the schedule: a systemd user timer, or a crontab line without systemd.

Either runs `kb schedule run --due` every five minutes, with low priority; times missed while the machine was off are caught up.
The variables that change what `kb` does are carried over from the shell, which neither reads.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from hashlib import sha256

from platformdirs import user_config_path

from kb.errors import StoreError
from kb.files import replace_file
from kb.jobs.background import program
from kb.progress import PROGRESS_VARIABLE
from kb.store import Home

_SERVICE = """[Unit]
Description=Jobs of the paper knowledge base in {home}

[Service]
Type=oneshot
Nice=10
CPUWeight=20
{variables}ExecStart={command}
"""
# Beside KB_…: proxies and certificates, where models lie, keys, and the zone that times of day are meant in.
_CARRIED = (
    "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy SSL_CERT_FILE SSL_CERT_DIR "
    "REQUESTS_CA_BUNDLE CURL_CA_BUNDLE HF_HOME HF_HUB_CACHE HF_HUB_OFFLINE HF_TOKEN GITHUB_TOKEN XDG_STATE_HOME "
    "XDG_CACHE_HOME TZ"
).split()
_NOT_CARRIED = frozenset({"KB_HOME", PROGRESS_VARIABLE})  # a command has its own
_TIMER = """[Unit]
Description=Looks for jobs of the paper knowledge base in {home}

[Timer]
OnCalendar=*:0/5
Persistent=true

[Install]
WantedBy=timers.target
"""


def install(home: Home) -> str:
    """Install the timer, replacing one for the same knowledge base; returns a sentence about it.

    Raises StoreError if the machine has neither systemd for users nor cron, or if a variable cannot be carried over.
    """
    command = program(home, "schedule", "run", "--due")
    name = f"paper-kb-{sha256(str(home.path.resolve()).encode()).hexdigest()[:8]}"
    if _succeeds("systemctl", "--user", "show-environment"):
        return _install_systemd(home, name, command)
    if shutil.which("crontab"):
        return _install_cron(name, command)
    raise StoreError("This machine has neither systemd for users nor cron. Keep `kb schedule run` running instead.")


def _install_systemd(home: Home, name: str, command: list[str]) -> str:
    folder = user_config_path("systemd") / "user"
    folder.mkdir(parents=True, exist_ok=True)
    line = " ".join(map(_quoted, command))
    variables = "".join(f"Environment={_quoted(f'{variable}={value}')}\n" for variable, value in _variables().items())
    values = {
        "home": str(home.path).replace("%", "%%"),
        "command": line.replace("%", "%%").replace("$", "$$"),
        "variables": variables.replace("%", "%%"),
    }
    service = folder / f"{name}.service"
    service.touch(mode=0o600)
    service.chmod(0o600)  # it may hold a key
    replace_file(service, _SERVICE.format(**values))
    replace_file(folder / f"{name}.timer", _TIMER.format(**values))
    for arguments in (("daemon-reload",), ("enable", "--now", f"{name}.timer")):
        _run("systemctl", "--user", *arguments)
    return f"Installed the systemd timer {folder / f'{name}.timer'}. Remove it: `systemctl --user disable --now {name}.timer`."


def _install_cron(name: str, command: list[str]) -> str:
    listed = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)  # fails where there is no table yet
    kept = [line for line in listed.stdout.splitlines() if not line.endswith(f"# {name}")]
    variables = "".join(f"{variable}={shlex.quote(value)} " for variable, value in _variables().items())
    line = f"*/5 * * * * {variables}nice -n 10 {shlex.join(command)}".replace("%", "\\%") + f" # {name}"
    _run("crontab", "-", text="\n".join([*kept, line]) + "\n")
    return f"Installed a line in your crontab, marked {name}. Remove it with `crontab -e`."


def _variables() -> dict[str, str]:
    """Variables of this process that change what `kb` does. Raises StoreError for a value of several lines."""
    found = {
        name: value
        for name, value in sorted(os.environ.items())
        if (name.startswith("KB_") and name not in _NOT_CARRIED) or name in _CARRIED
    }
    for name, value in found.items():
        if not value.isprintable():
            raise StoreError(f"The variable {name} holds more than a line of text. Unset it, or give it another value.")
    return found


def _quoted(word: str) -> str:
    """Word in double quotes, as systemd reads it."""
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _succeeds(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(*command: str, text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StoreError(f"`{shlex.join(command)}` failed: {done.stderr.strip()}.")
