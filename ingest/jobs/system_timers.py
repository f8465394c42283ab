"""Installer of a timer for the schedule: a systemd user timer, or a crontab line without systemd.

Either runs `kb schedule run --due` every five minutes, with low priority; times missed while the machine was off are caught up.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from hashlib import sha256

from platformdirs import user_config_path

from kb.errors import StoreError
from kb.files import replace_file
from kb.jobs.background import program
from kb.store import Home

_SERVICE = """[Unit]
Description=Jobs of the paper knowledge base in {home}

[Service]
Type=oneshot
Nice=10
CPUWeight=20
ExecStart={command}
"""
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

    Raises StoreError if the machine has neither systemd for users nor cron.
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
    line = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in command)
    values = {"home": str(home.path).replace("%", "%%"), "command": line.replace("%", "%%").replace("$", "$$")}
    replace_file(folder / f"{name}.service", _SERVICE.format(**values))
    replace_file(folder / f"{name}.timer", _TIMER.format(**values))
    for arguments in (("daemon-reload",), ("enable", "--now", f"{name}.timer")):
        _run("systemctl", "--user", *arguments)
    return f"Installed the systemd timer {folder / f'{name}.timer'}. Remove it: `systemctl --user disable --now {name}.timer`."


def _install_cron(name: str, command: list[str]) -> str:
    listed = subprocess.run(["crontab", "-l"], capture_output=True, text=True, check=False)  # fails where there is no table yet
    kept = [line for line in listed.stdout.splitlines() if not line.endswith(f"# {name}")]
    line = f"*/5 * * * * nice -n 10 {shlex.join(command)}".replace("%", "\\%") + f" # {name}"
    _run("crontab", "-", text="\n".join([*kept, line]) + "\n")
    return f"Installed a line in your crontab, marked {name}. Remove it with `crontab -e`."


def _succeeds(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(*command: str, text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StoreError(f"`{shlex.join(command)}` failed: {done.stderr.strip()}.")
