"""The toolkit's errors: one exception, one line, one code."""

from __future__ import annotations

from typing import Any

from agent_runtime.codes import AgentError, register

NO_ANSWER = register(
    "TOOL01",
    "a service did not answer as it should",
    "See whether it runs and can be reached from the runner; its addresses are in the catalogue of services",
)
OUTCOME_UNKNOWN = register(
    "TOOL02",
    "nobody knows whether a call took effect",
    "Look at the service before anything is tried again",
)
CATALOGUE_INVALID = register(
    "TOOL03",
    "the catalogue of services is invalid",
    "Fix the named key; docs/RUNBOOK.md shows an entry",
)
NOT_IN_CATALOGUE = register(
    "TOOL04",
    "the resource is not in the catalogue of services",
    "Add it to the catalogue by pull request; only what is listed there can be touched",
)
METRICS_UNUSABLE = register(
    "TOOL05",
    "the metrics are invalid",
    "Compare the catalogue's names and queries with what the service exports",
)
TOKEN_INVALID = register(
    "TOOL06",
    "a credential can't be sent",
    "Set the variable that the message names again, a token without spaces and line endings, as a secret of the "
    "environment of its job (agent-investigate, agent-act) or, on private-free, of the repository",
)
TOKEN_REFUSED = register(
    "TOOL07",
    "the service refuses the token",
    "Store a token that may do this as the secret AGENT_ACT_TOKEN of the environment agent-act, or on private-free "
    "of the repository; see docs/TROUBLESHOOTING.md, Permission denied in act",
)
GIT_FAILED = register(
    "TOOL08",
    "git could not do what it was asked",
    "See whether the repository of the catalogue can be reached from the runner, and whether the token may write to it",
)
GIT_CONFLICT = register(
    "TOOL09",
    "a commit can't be undone by itself",
    "Later commits changed the same lines: undo it by hand; nothing was pushed",
)
GIT_NAME = register(
    "TOOL10",
    "git can't be given this name",
    "Write an https address, a plain branch, and a path inside the repository without . and ..",
)
FILE_UNUSABLE = register(
    "TOOL11",
    "a file of the configuration is invalid",
    "Compare the key of the catalogue with what the file contains",
)
LOG_UNUSABLE = register(
    "TOOL12",
    "the application log is invalid",
    "The address must return one JSON object per line, each with time and level",
)
NOT_DONE = register(
    "TOOL13",
    "an action stopped before it was complete",
    "The message says why, and the changes in the result say how far it got",
)
FOLDER_UNUSABLE = register(
    "TOOL21",
    "a folder can't be looked at",
    "Name the folder itself in services.yml, and let the runner's user read it; see docs/RUNBOOK.md",
)
GIT_OVERTAKEN = register(
    "TOOL14",
    "somebody else pushed meanwhile",
    "Nothing was changed on that branch. Start a new run: it looks at what is there now",
)
READ_REFUSED = register(
    "TOOL15",
    "a service can't be read without a token",
    "Name an address in the catalogue that can be read without a token, or give the job that investigates one for "
    "reading; see docs/SETUP_GUIDE.md, What your agent reads with",
)
REQUEST_REFUSED = register(
    "TOOL16",
    "a service understood a request and refused it",
    "Nothing was changed. The status says why: 404, there is no such thing; 409, it is in another state than expected; "
    "422, it does not take these values; 429, it is asked too often",
)
ACCESS_REFUSED = register(
    "TOOL17",
    "a service refuses a token, or needs one",
    "Store a credential that may do this under the name in the message: for the job investigate as a secret of "
    "agent-investigate that the answer investigate_secrets names, for act of agent-act (act_secrets); where it names "
    "none, name one in the catalogue of services. See docs/SETUP_GUIDE.md, What your agent reads with",
)
MODEL_SETTINGS = register(
    "TOOL18",
    "a model can't be asked like this",
    "Fix what the message names: a variable of the job investigate, a constant of agent_runner.py, or a package in "
    "requirements-agent.in (then make lock)",
)
MODEL_FAILED = register(
    "TOOL19",
    "a model gave no plan",
    "Read model-transcript.json in the run's bundle. Where the provider failed, start a new run; where the answers are "
    "invalid, choose another model",
)


class ToolError(AgentError):
    """A tool can't do what it was asked to do; nothing was changed."""


class Refused(ToolError):
    """A service understood a request and refused it; nothing was changed.

    Arguments:
        answer: the `http.Response` that refuses it.
    """

    def __init__(self, code: str, message: str, answer: Any) -> None:
        super().__init__(code, message)
        self.answer = answer
        self.status: int = answer.status


class OutcomeUnknown(ToolError):
    """A call that changes something was sent, and whether it took effect is not known."""
