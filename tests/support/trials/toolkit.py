"""Trials of the codes of the toolkit, against servers and repositories that are as bad as it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agent_runtime.agent import Notes
from agent_runtime.toolkit import errors, files, git, http, metrics, model, scaling, services
from support import gitserver
from support.gitserver import Origin
from support.trials.lab import Attempt, Lab, both, trial

TOKEN = "restart-token"
CATALOGUE = """
services:
  shop:
    metrics: {url: "http://shop:8080/metrics", window_seconds: 0}
    health: http://shop:8080/healthz
    restart: https://deployer.example.com/shop/restart
"""


def asked(lab: Lab, status: int, text: str) -> Any:
    """Read a JSON document of a service."""
    return http.get(lab.serve(lambda _: (status, text))).json()


both(errors.NO_ANSWER, lambda lab: asked(lab, 200, "<html>"), lambda lab: asked(lab, 200, "{}"))


def catalogue(text: str, name: str = "shop") -> Any:
    """Look a service up in a catalogue."""
    return services.parse(text.encode(), "services.yml").get(name)


both(
    errors.CATALOGUE_INVALID,
    lambda _: catalogue(CATALOGUE.replace("health", "helth")),
    lambda _: catalogue(CATALOGUE),
)
both(
    errors.NOT_IN_CATALOGUE,
    lambda _: catalogue(CATALOGUE, "pay"),
    lambda _: catalogue(CATALOGUE.replace("shop:\n", "pay:\n"), "pay"),
)


@trial(errors.FOLDER_UNUSABLE)
def a_folder_is_a_link(lab: Lab) -> Iterator[Attempt]:
    folder, link = lab.place(), lab.place()
    folder.mkdir()
    link.symlink_to(folder)

    def looked_at(path: str) -> str:
        with files.opened(path) as found:
            return files.identity(found)

    yield lambda: looked_at(str(link))
    yield lambda: looked_at(str(folder))


def restarted(lab: Lab, token: http.Token, wants: str = TOKEN, status: int = 200) -> Any:
    """Ask a service for a restart; it wants a token."""
    return http.post_once(lab.serve(lambda given: (status if given == wants else 403, "")), token=token)


def acting(value: str) -> http.Token:
    """The token of the job that acts."""
    return http.Token(value, http.ACT_TOKEN)


both(errors.TOKEN_INVALID, lambda lab: restarted(lab, acting(TOKEN + "\n")), lambda lab: restarted(lab, acting(TOKEN)))
both(errors.TOKEN_REFUSED, lambda lab: restarted(lab, acting("another")), lambda lab: restarted(lab, acting(TOKEN)))
both(
    errors.ACCESS_REFUSED,
    lambda lab: restarted(lab, http.Token("", "MODEL_API_KEY")),
    lambda lab: restarted(lab, http.Token(TOKEN, "MODEL_API_KEY")),
)


@dataclass(frozen=True)
class Nothing:
    """What a model chooses of an action without parameters."""


def investigated(lab: Lab, names: tuple[str, ...], said: str) -> Any:
    """Ask a model that answers the same to everything."""
    # Every worker imports this module; the framework takes half a second, and few of them ask a model.
    from pydantic_ai.messages import ModelResponse, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    actions = [model.Action(name, "Helps.", Nothing) for name in names]
    part = ToolCallPart(said, {"findings": [], "reason": "", "analysis": "", "confidence": 0})
    answering = FunctionModel(lambda *_: ModelResponse(parts=[part]))
    return model.ask("Why?", actions=actions, tools=(), notes=Notes(), model=answering)


both(
    errors.MODEL_SETTINGS,
    lambda lab: investigated(lab, ("restart", "restart"), model.NOTHING),
    lambda lab: investigated(lab, ("restart", "turn_off"), model.NOTHING),
)
both(
    errors.MODEL_FAILED,
    lambda lab: investigated(lab, ("restart",), "delete_database"),
    lambda lab: investigated(lab, ("restart",), model.NOTHING),
)


@trial(errors.OUTCOME_UNKNOWN, by_hand="look at the service")
def a_service_fails_after_it_was_asked(lab: Lab) -> Iterator[Attempt]:
    yield lambda: restarted(lab, acting(TOKEN), status=502)


@trial(errors.REQUEST_REFUSED, by_hand="the status says what to change")
def a_service_refuses_a_request(lab: Lab) -> Iterator[Attempt]:
    yield lambda: restarted(lab, acting(TOKEN), status=422)


def number(lab: Lab, series: int) -> Any:
    """Ask a Prometheus server that has so many series."""
    result = [{"metric": {"n": str(each)}, "value": [1795485600, "1"]} for each in range(series)]
    answer = {"status": "success", "data": {"resultType": "vector", "result": result}}
    return metrics.value(lab.serve(lambda _: (200, json.dumps(answer))), "up")


def logged(level: object) -> Any:
    """Read a log of one line."""
    return metrics.parse_log(json.dumps({"time": 0, "level": level}) + "\n", 0, "log")


both(errors.METRICS_UNUSABLE, lambda lab: number(lab, 2), lambda lab: number(lab, 1))
both(errors.LOG_UNUSABLE, lambda _: logged(None), lambda _: logged("error"))
both(
    errors.FILE_UNUSABLE,
    lambda _: scaling.read_number(b"spec: {n: three}\n", "spec.n", "x.yml"),
    lambda _: scaling.read_number(b"spec: {n: 3}\n", "spec.n", "x.yml"),
)

HPA = {
    "metadata": {"uid": "u", "resourceVersion": "1"},
    "spec": {"minReplicas": 2, "maxReplicas": 4},
    "status": {"currentReplicas": 2},
}


@trial(errors.READ_REFUSED)
def an_autoscaler_wants_a_token(lab: Lab) -> Iterator[Attempt]:
    opened: list[bool] = []
    url = lab.serve(lambda _: (200, json.dumps(HPA)) if opened else (401, ""))
    target = scaling.Autoscaler(api=url, namespace="shop", name="checkout")
    yield target.look
    opened.append(True)  # one that can be read without
    yield target.look


# Git.
def origin(lab: Lab) -> Origin:
    """A repository with the versions "First" and "Second" of app.json."""
    place = lab.place()
    place.mkdir()
    made = gitserver.create(place)
    made.commit({"app.json": "1\n2!\n3\n"}, "Second")
    return made


def undone(made: Origin, place: int = 0) -> str:
    """Undo one of the last changes of app.json."""
    with git.clone(made.address, "main") as clone:
        return clone.revert(clone.changes("app.json", 3)[place])


@trial(errors.GIT_FAILED)
def a_repository_can_not_be_reached(lab: Lab) -> Iterator[Attempt]:
    made = origin(lab)
    moved = made.bare.rename(made.bare.with_name("moved"))
    yield lambda: undone(made)
    moved.rename(made.bare)
    yield lambda: undone(made)


@trial(errors.GIT_CONFLICT, by_hand="undo the commit by hand")
def a_later_commit_changed_the_same_line(lab: Lab) -> Iterator[Attempt]:
    made = origin(lab)
    made.commit({"app.json": "1\n2?\n3\n"}, "Third")
    yield lambda: undone(made, 1)


@trial(errors.GIT_NAME)
def a_branch_has_no_plain_name(lab: Lab) -> Iterator[Attempt]:
    made = origin(lab)

    def cloned(branch: str) -> str:
        with git.clone(made.address, branch) as clone:
            return clone.head

    yield lambda: cloned("--upload-pack=x")
    yield lambda: cloned("main")


@trial(errors.GIT_OVERTAKEN)
def somebody_pushed_meanwhile(lab: Lab) -> Iterator[Attempt]:
    made = origin(lab)

    def pushed(meanwhile: dict[str, str | None]) -> None:
        with git.clone(made.address, "main") as clone:
            change = clone.revert(clone.changes("app.json", 1)[0])
            if meanwhile:
                made.commit(meanwhile, "Somebody else")
            clone.push(change, "main")

    yield lambda: pushed({"app.json": "theirs\n"})
    yield lambda: pushed({})


@trial(errors.NOT_DONE, by_hand="look at how far it got")
def what_was_merged_is_something_else(lab: Lab) -> Iterator[Attempt]:
    made = origin(lab)
    first = gitserver.git(made.bare, "rev-parse", "main^")
    yield lambda: git.restored_by(made.address, "main", "app.json", first)
