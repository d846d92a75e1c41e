"""The gate's workflows as the template renders them for a repository's answers, as data: what the linter compares with.

A second, independent statement of `.github/workflows/agent-*.yml`; a test holds every rendering to it.  An action stands
without its commit: which one it is, Dependabot may renew.
"""

from __future__ import annotations

from typing import Any, Dict, List, Sequence

from agent_runtime.model import names
from agent_runtime.model.config import ISSUE_GATE, PLAN_WITHOUT_ENVIRONMENTS, Config

Data = Dict[str, Any]

_GATE_RUN = "python -I -S agent_runtime/__main__.py "
_TOKEN = {"GITHUB_TOKEN": "${{ github.token }}"}
_SWITCH = {"AGENT_DISABLED": "${{ vars.AGENT_DISABLED }}"}
_RESOURCE = {"TARGET_RESOURCE": "${{ inputs.resource || vars.TARGET_RESOURCE }}"}
_CONTEXT = {"ACTION_CONTEXT": "${{ inputs.action_context }}"}
_TRIGGER = {
    "TRIGGER_SOURCE": "${{ inputs.trigger_source || (github.event_name == 'schedule' && 'schedule') || 'alert' }}",
    "TRACE_ID": "${{ inputs.trace_id }}",
}
_READS = {"contents": "read", "actions": "read"}
_LOCK = {"cancel-in-progress": "false"}


def workflows(config: Config) -> Dict[str, Data]:
    """The gate's workflows of a repository with this configuration, by file name."""
    found = {names.WORKFLOW_FILE: _investigate_act(config)}
    if config.approval_gate == ISSUE_GATE:
        found[names.APPROVAL_WORKFLOW_FILE] = _act_on_approval(config)
    return found


# ------------------------------------------------------------------------------------------------------ small parts


def _labels(labels: Sequence[str]) -> Any:
    return labels[0] if len(labels) == 1 else list(labels)


def _needs(job: str, **outputs: str) -> Data:
    return {name: f"${{{{ needs.{job}.outputs.{output} }}}}" for name, output in outputs.items()}


def _steps(step: str, words: str) -> Data:
    return {word: f"${{{{ steps.{step}.outputs.{word} }}}}" for word in words.split()}


def _artifact(name: str, step: str) -> Data:
    return {f"{name}_{word}": f"${{{{ steps.{step}.outputs.artifact-{word} }}}}" for word in ("id", "digest")}


def _own(secrets: Sequence[str], variables: Sequence[str]) -> Data:
    found = {name: f"${{{{ secrets.{name} }}}}" for name in secrets}
    return {**found, **{name: f"${{{{ vars.{name} }}}}" for name in variables}}


def _plan(job: str) -> Data:
    return _needs(job, TARGET_RESOURCE="resource", APPROVED_DIGEST="plan_digest", TRACE_ID="trace_id")


def _of_plan(job: str) -> str:
    digest, action, resource = _needs(job, a="plan_digest_short", b="action", c="resource").values()
    return f"{digest}: {action} on {resource}"


def _run(name: str, command: str, env: Data, id: str = "", condition: str = "") -> Data:
    given = {"name": name, "id": id, "if": condition, "env": env, "run": command}
    return {key: value for key, value in given.items() if value}


def _keep(name: str, id: str, artifact: str, path: str = names.DEFAULT_OUT + "/") -> Data:
    step = {"name": name, "id": id, "if": "always()", "uses": "actions/upload-artifact"}
    return {
        **{key: value for key, value in step.items() if value},
        "with": {"name": artifact, "path": path, "retention-days": "90"},
    }


_CHECKOUT: Data = {
    "name": "Check out this commit",
    "uses": "actions/checkout",
    "with": {"ref": "${{ github.sha }}", "persist-credentials": "false"},
}
_GATE: List[Data] = [_CHECKOUT, {"name": "Set up the gate", "uses": "./.github/actions/setup-gate"}]


def _agent(config: Config) -> Data:
    given = {"python-version": config.agent_python}
    return {"name": "Set up the agent", "uses": "./.github/actions/setup-agent", "with": given}


def _gate_job(config: Config, name: str, steps: List[Data], permissions: Data, **more: Any) -> Data:
    """A job that never runs the team's code; `if_` stands for `if`."""
    return {
        "name": name,
        **{key.rstrip("_"): value for key, value in more.items()},
        "runs-on": _labels(config.gate_runner),
        "cache-mode": "none",
        "timeout-minutes": "10",
        "permissions": permissions,
        "steps": [*_GATE, *steps],
    }


def _workflow(name: str, on: Data, jobs: Data, **more: Any) -> Data:
    lock = {"group": "agent-run-${{ github.run_id }}", **_LOCK}
    return {"name": name, **more, "on": on, "permissions": {}, "concurrency": lock, "jobs": jobs}


# ----------------------------------------------------------------------------------------------------------- the jobs


def _investigate(config: Config) -> Data:
    own = _own(config.investigate_secrets, config.investigate_variables)
    job: Data = {"name": names.INVESTIGATE_JOB, "runs-on": _labels(config.investigate_runner)}
    if config.investigate_container:
        job["container"] = config.investigate_container
    if config.repository_plan != PLAN_WITHOUT_ENVIRONMENTS and (config.investigate_secrets or config.investigate_oidc):
        job["environment"] = {"name": names.INVESTIGATE_ENVIRONMENT, "deployment": "false"}
    start = "python -I agent_runtime/__main__.py start"
    go, job_env = "steps.start.outputs.state == 'go'", {"AGENT_JOB": "investigate"}
    prepare = {"name": "Prepare to investigate", "if": go, "uses": "./.github/actions/prepare-investigate"}
    env = {**job_env, **_RESOURCE, **_CONTEXT, **_TRIGGER, **own}
    return {
        **job,
        "timeout-minutes": "20",
        "permissions": {**_READS, **({"id-token": "write"} if config.investigate_oidc else {})},
        "outputs": _artifact("investigation", "investigation"),
        "steps": [
            _CHECKOUT,
            _agent(config),
            _run("Start", start, {**_RESOURCE, **_TRIGGER, **_SWITCH, **_TOKEN}, "start"),
            {**prepare, "env": {**job_env, **own}},
            _run("Investigate", "python agent_runner.py investigate", env, condition=go),
            _keep("Keep what was found", "investigation", names.INVESTIGATION_ARTIFACT),
        ],
    }


_SEALED = "decision approvals action resource plan_digest plan_digest_short trace_id journal_head"


def _seal(config: Config) -> Data:
    env = {**_RESOURCE, **_CONTEXT, **_TRIGGER, "DRY_RUN": "${{ inputs.dry_run }}", **_SWITCH}
    env["INVESTIGATE_RESULT"] = "${{ needs.investigate.result }}"
    env.update(
        _needs("investigate", INVESTIGATION_ID="investigation_id", INVESTIGATION_DIGEST="investigation_digest"), **_TOKEN
    )
    steps = [
        _run("Seal the plan", _GATE_RUN + "seal", env, "seal"),
        _keep("Keep the report and the journal", "report", names.REPORT_ARTIFACT),
        _keep("Keep the trace id", "", "audit-trace-id", f"{names.DEFAULT_OUT}/{names.TRACE_NAME}"),
    ]
    outputs = {**_steps("seal", _SEALED), **_artifact("report", "report")}
    return _gate_job(
        config, names.SEAL_JOB, steps, _READS, needs="investigate", if_="${{ !cancelled() }}", outputs=outputs
    )


_REPORT = _needs("seal", REPORT_ID="report_id", REPORT_DIGEST="report_digest")
_REVIEW = "needs.seal.outputs.decision == 'review'"


def _ask(config: Config) -> Data:
    env = {**_needs("seal", APPROVED_DIGEST="plan_digest", TRACE_ID="trace_id"), **_REPORT, **_TOKEN}
    steps = [
        _run("Open the issue", _GATE_RUN + "ask", env, "ask"),
        _keep("Keep the journal", "request", "approval-request"),
    ]
    outputs = {**_steps("ask", "issue journal_head"), **_artifact("request", "request")}
    permissions = {**_READS, "issues": "write"}
    return _gate_job(config, "Ask", steps, permissions, needs="seal", if_=_REVIEW, outputs=outputs)


def _receipt() -> Data:
    return _keep("Keep the receipt", "receipt", names.RECEIPT_ARTIFACT)


def _approve(config: Config) -> Data:
    run = _run("Write down who approved", _GATE_RUN + "approve", {**_plan("seal"), **_TOKEN}, "approve")
    return _gate_job(
        config,
        names.APPROVE_JOB + _of_plan("seal"),
        [run, _receipt()],
        _READS,
        needs="seal",
        if_=_REVIEW,
        environment=names.GATE_ENVIRONMENT,
        outputs={**_artifact("receipt", "receipt"), **_steps("approve", "journal_head")},
    )


def _approve_by_comment(config: Config) -> Data:
    condition = (
        "github.event.issue.state == 'open' && !github.event.issue.pull_request"
        f" && contains(github.event.issue.labels.*.name, '{names.GATE_LABEL}')"
        " && github.event.comment.user.type == 'User'"
        " && (startsWith(github.event.comment.body, '/approve') || startsWith(github.event.comment.body, '/reject'))"
    )
    said = "answer code action resource plan_digest plan_digest_short trace_id journal_head"
    title = "Look whether the comment approves, and write down whose it is"
    return _gate_job(
        config,
        "Approve by comment",
        [_run(title, _GATE_RUN + "approve", _TOKEN, "approve"), _receipt()],
        {**_READS, "issues": "read"},
        if_=condition,
        outputs={**_steps("approve", said), **_artifact("receipt", "receipt")},
    )


def _claim(config: Config) -> Data:
    env = {**_plan("approve"), **_SWITCH, **_TOKEN}
    run = _run("Claim the plan", _GATE_RUN + "claim", env, "claim")
    return _gate_job(
        config,
        "Claim",
        [run, _keep("Keep the journal", "kept", names.CLAIM_ARTIFACT)],
        {"contents": "write", "actions": "read", "issues": "read"},
        needs="approve",
        if_="needs.approve.result == 'success'",
        outputs={**_artifact("claim", "kept"), **_steps("claim", "journal_head")},
    )


def _act(config: Config, name: str, plan: str, permissions: Data, environment: str, auto: str = "", **more: Any) -> Data:
    """The job that acts on the plan of which the job `plan` told; `auto` ends the names of the one that nobody is
    asked for."""
    prepared = {"AGENT_JOB": "act" + auto, "AGENT_PLAN_FILE": "${{ github.workspace }}/agent-run/plan.json"}
    own = _own(config.act_secrets, config.act_variables)
    report = _REPORT if plan == "seal" else {}
    verify = _GATE_RUN + "authorize" + (" --auto" if auto else "")
    prepare = {"name": "Prepare to act", "uses": "./.github/actions/prepare-act", "env": {**prepared, **own}}
    execute = {**prepared, **_plan(plan), **own, **_TOKEN}
    return {
        "name": name,
        **{key.rstrip("_"): value for key, value in more.items()},
        **({"environment": environment} if environment else {}),
        "concurrency": {"group": "agent-act-" + _plan(plan)["TARGET_RESOURCE"], **_LOCK, "queue": "max"},
        "runs-on": _labels(config.act_runner),
        "cache-mode": "none",
        "timeout-minutes": config.act_timeout_minutes,
        "permissions": permissions,
        "outputs": {
            **_artifact("authorization", "authorization"),
            **_steps("verify", "verify_head"),
            **_artifact("result", "result"),
            **_steps("execute", "action_status"),
        },
        "steps": [
            *_GATE,
            _run(names.VERIFY_STEP, verify, {**_plan(plan), **report, **_SWITCH, **_TOKEN}, "verify"),
            _keep("Keep what Verify found", "authorization", names.AUTHORIZATION_ARTIFACT + auto),
            _agent(config),
            prepare,
            _run(names.EXECUTE_STEP, "python agent_runner.py execute", execute, "execute"),
            _keep("Keep the result and the journal", "result", names.RESULT_ARTIFACT + auto, names.EXECUTE_OUT + "/"),
        ],
    }


def _record(config: Config, name: str, needs: List[str], first: str, permissions: Data, condition: str) -> Data:
    bundle = f"{names.DEFAULT_OUT}/{names.BUNDLE_FOLDER}"
    env = {"NEEDS": "${{ toJSON(needs) }}", **_needs(first, TRACE_ID="trace_id"), **_TOKEN}
    backend = {
        "AIMGENTIX_API_URL": "${{ secrets.AIMGENTIX_API_URL || vars.AIMGENTIX_API_URL }}",
        "AIMGENTIX_API_KEY": "${{ secrets.AIMGENTIX_API_KEY }}",
    }
    title = "Deliver the trail to the audit backend"
    steps = [
        _run(name, _GATE_RUN + "record", env, condition="always()"),
        _keep("Keep the bundle", "bundle", names.BUNDLE_ARTIFACT, bundle + "/"),
        _run(title, f"{_GATE_RUN}deliver {bundle}", backend, condition="always()"),
    ]
    return _gate_job(config, "Record", steps, permissions, needs=needs, if_=condition)


def _granted(config: Config, scopes: Sequence[str]) -> Data:
    return {**dict.fromkeys(scopes, "read"), **dict.fromkeys(config.act_permissions, "write")}


# ------------------------------------------------------------------------------------------------------ the workflows


def _investigate_act(config: Config) -> Data:
    inputs: Data = {
        "resource": {
            "description": "What to look at (empty = the repository variable TARGET_RESOURCE)",
            "type": "string",
        },
        "action_context": {
            "description": "Details for the agent, as a JSON object",
            "type": "string",
            "default": "{}",
        },
        "trigger_source": {
            "description": "What this run stands for",
            "type": "choice",
            "options": ["manual", "alert", "schedule"],
            "default": "manual",
        },
        "trace_id": {"description": "Trace id to continue (empty = a new one)", "type": "string"},
        "dry_run": {
            "description": "Dry run; everything is asked and checked, nothing is executed",
            "type": "boolean",
            "default": "false",
        },
    }
    on: Data = {"workflow_dispatch": {"inputs": inputs}}
    if "alert" in config.triggers:
        on["repository_dispatch"] = {"types": ["alert-triggered"]}
    if "schedule" in config.triggers:
        on["schedule"] = [{"cron": config.schedule_cron}]
    jobs = {"investigate": _investigate(config), "seal": _seal(config)}
    if config.approval_gate == ISSUE_GATE:
        jobs["ask"] = _ask(config)
    else:
        jobs["approve"] = _approve(config)
        succeeded = "needs.seal.result == 'success' && needs.approve.result == 'success'"
        jobs["act"] = _act(
            config,
            names.ACT_JOB_NAME,
            "seal",
            _granted(config, ("contents", "actions")),
            names.ACT_ENVIRONMENT,
            needs=["seal", "approve"],
            if_="${{ !cancelled() && " + succeeded + " }}",
        )
    if config.auto_approval:
        title = names.AUTO_JOB_NAME + _of_plan("seal")
        condition = "needs.seal.outputs.decision == 'auto'"
        jobs[names.AUTO_JOB] = _act(
            config, title, "seal", _READS, names.AUTO_ENVIRONMENT, names.AUTO, needs="seal", if_=condition
        )
    jobs["record"] = _record(config, "Close the trail", list(jobs), "seal", _READS, "always()")
    resource = "inputs.resource || github.event.client_payload.resource || vars.TARGET_RESOURCE"
    trace = "inputs.trace_id || github.event.client_payload.trace_id || github.event.client_payload.fingerprint || '-'"
    run_name = "${{ " + resource + " }} [${{ " + trace + " }}]"
    return _workflow("Agent Runtime - Investigate & Act", on, jobs, **{"run-name": run_name})


def _act_on_approval(config: Config) -> Data:
    jobs = {"approve": _approve_by_comment(config), "claim": _claim(config)}
    jobs["act"] = _act(
        config,
        names.APPROVED_JOB_NAME + _of_plan("approve"),
        "approve",
        _granted(config, ("contents", "actions", "issues")),
        "" if config.repository_plan == PLAN_WITHOUT_ENVIRONMENTS else names.ACT_ENVIRONMENT,
        needs=["approve", "claim"],
        if_="${{ !cancelled() && needs.approve.result == 'success' && needs.claim.result == 'success' }}",
    )
    condition = "always() && needs.approve.result != 'skipped'"
    permissions = {**_READS, "issues": "write"}
    jobs["record"] = _record(
        config, "Close the trail and answer on the issue", list(jobs), "approve", permissions, condition
    )
    return _workflow("Agent Runtime - Act on Approval", {"issue_comment": {"types": ["created"]}}, jobs)
