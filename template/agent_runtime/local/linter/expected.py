"""The gate's workflows as the template renders them for a repository's answers: `expected.yml`, filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence

from agent_runtime.local.linter.values import Value, plain, read
from agent_runtime.model.config import ISSUE_GATE, PLAN_WITHOUT_ENVIRONMENTS, Config
from agent_runtime.model.names import VARIABLE

DATA = Path(__file__).with_name("expected.yml")

_OPEN = re.compile(r"<([\w-]+)>")


def workflows(config: Config) -> Dict[str, Value]:
    """The gate's workflows of a repository with this configuration, by file name."""
    data = read(DATA.read_bytes())
    by_issue, has_environments = config.approval_gate == ISSUE_GATE, config.repository_plan != PLAN_WITHOUT_ENVIRONMENTS
    conditions = {
        "issue": by_issue,
        "environments": not by_issue,
        "team": has_environments,
        "auto": config.auto_approval,
        "alert": "alert" in config.triggers,
        "schedule": "schedule" in config.triggers,
        "oidc": config.investigate_oidc,
        "reading": has_environments and bool(config.investigate_secrets or config.investigate_oidc),
        "container": bool(config.investigate_container),
        "notify": config.notify,
        "bundle-used": config.notify or not by_issue,
        "notify-here": config.notify and not by_issue,
    }
    answers = {
        **{name: _labels(getattr(config, name)) for name in ("investigate_runner", "act_runner", "gate_runner")},
        "investigate_container": config.investigate_container,
        "investigate_env": _own(config.investigate_secrets, config.investigate_variables),
        "act_env": _own(config.act_secrets, config.act_variables),
        "act_variables": {f"{VARIABLE}{name}": f"${{{{ vars.{name} }}}}" for name in config.act_variables},
        "act_scopes": dict.fromkeys(config.act_permissions, "write"),
        "act_timeout_minutes": config.act_timeout_minutes,
        "agent_python": config.agent_python,
        "schedule_cron": config.schedule_cron,
    }
    filler = _Filler(data.get("blocks").below(), conditions)
    known = {name: plain(answer) for name, answer in answers.items()}
    files = Value(0, fields={name: value for name, value in data.below().items() if name != "blocks"})
    return filler.fill(files, known).below()


def _labels(labels: Sequence[str]) -> Any:
    return labels[0] if len(labels) == 1 else labels


def _own(secrets: Sequence[str], variables: Sequence[str]) -> Dict[str, str]:
    found = {name: f"${{{{ secrets.{name} }}}}" for name in secrets}
    return {**found, **{name: f"${{{{ vars.{name} }}}}" for name in variables}}


@dataclass(frozen=True)
class _Filler:
    """Fills in what `expected.yml` leaves open; what it fills in stays as it is."""

    blocks: Mapping[str, Value]
    conditions: Mapping[str, bool]

    def fill(self, value: Value, known: Mapping[str, Value]) -> Value:
        """The value with answers and variables in their places, and without what a condition leaves out."""
        if value.fields is not None:
            fields: Dict[str, Value] = {}
            for key, item in value.fields.items():
                name, _, condition = key.partition(" if ")
                if condition and not self.conditions[condition]:
                    continue
                if name[:1] + name[-1:] == "<>":
                    fields.update(self._block(name[1:-1], {**known, **self.fill(item, known).below()}).below())
                else:
                    fields[_text(name, known)] = self.fill(item, known)
            return Value(0, fields=fields)
        if value.items is not None:
            items: List[Value] = []
            for item in value.items:
                text, _, condition = (item.text or "").partition(" if ")
                if text[:1] + text[-1:] == "<>":
                    items += self._block(text[1:-1], known).items or ()
                elif not condition or self.conditions[condition]:
                    items.append(self.fill(Value(0, text=text) if condition else item, known))
            return Value(0, items=tuple(items))
        whole = _OPEN.match(value.text or "")
        if whole and whole.group() == value.text:
            return known[whole.group(1)]
        return Value(0, text=_text(value.text or "", known))

    def _block(self, name: str, known: Mapping[str, Value]) -> Value:
        return self.fill(self.blocks[name], known) if name in self.blocks else known[name]


def _text(text: str, known: Mapping[str, Value]) -> str:
    return _OPEN.sub(lambda found: known[found.group(1)].text or "", text)
