"""The simulated run where an issue is the gate: one run asks, and a comment in the loopback GitHub starts another."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Tuple

from agent_runtime import codes
from agent_runtime.local.simulate import shapes
from agent_runtime.local.simulate.jobs import Job
from agent_runtime.local.simulate.run import INITIATOR, REVIEWER, SimulatedRun, approvers, sealed_plan, tampered
from agent_runtime.local.simulate.scenario import Scenario
from agent_runtime.local.simulate.server import LoopbackGitHub
from agent_runtime.model import config, documents, names, plan

ADMINISTRATOR = "administrator"
_COMMENTERS = {Scenario.SELF_APPROVE: INITIATOR, Scenario.BYPASS: ADMINISTRATOR}


class SimulatedIssueRun(SimulatedRun):
    """Plays the runner's part for the run that asks, and for the one that the answer starts."""

    def prepare(self, github: LoopbackGitHub) -> None:
        """Give the repository the settings that docs/SETUP_GUIDE.md asks for, or those of an attack."""
        self.expect("investigate", "seal", "ask")
        github.visibility, github.plan = "private", "free"
        if self.config.repository_plan != config.PLAN_WITHOUT_ENVIRONMENTS:
            github.plan = "team"
        for name in self.config.environments():
            github.protect(name)
        permission = "read" if self.request.scenario is Scenario.OPEN_GATE else "write"
        self._approvers = [name for name in self.config.approvers if "/" not in name] or [REVIEWER]
        github.people = {INITIATOR: "write", ADMINISTRATOR: "admin", **dict.fromkeys(self._approvers, permission)}
        self._add_run(github, self.run_id, self.runner_variables(github)["GITHUB_EVENT_NAME"])

    def decide(self, github: LoopbackGitHub, sealed: Job) -> Tuple[int, Job]:
        """Open the issue, let somebody answer, and run the jobs that the answer starts."""
        if sealed.outputs.get("decision") != documents.Decision.REVIEW.value:
            return sealed.exit_code, self.record(github, "record")
        ask = Job(self.request.folder / "ask")
        given = {
            "APPROVED_DIGEST": sealed.outputs["plan_digest"],
            "REPORT_ID": sealed.outputs["report_id"],
            "REPORT_DIGEST": sealed.outputs["report_digest"],
        }
        self.step(github, ask, "ask", ["ask"], given)
        self.upload(github, ask, "request", "approval-request")
        self.close(github, "ask", "Ask", ask)
        if ask.exit_code:
            return ask.exit_code, self.record(github, "record")
        self.record(github, "record-of-asking")
        return self._answer(github, sealed)

    def _answer(self, github: LoopbackGitHub, sealed: Job) -> Tuple[int, Job]:
        scenario = self.request.scenario
        (issue,) = github.issues.values()
        if scenario is None:
            scenario = self.answer(sealed)
        digest = sealed.outputs["plan_digest"]
        text = "/reject not now" if scenario is Scenario.REJECT else "/approve " + digest
        wanted = sealed_plan(self.request.folder).approvals
        *first, last = self.request.approvers or approvers(wanted, self._approvers)
        if scenario is not Scenario.REJECT:
            for login in first:
                self._comment(github, issue, login, text)
                self._read_comment(github, "approve-first")
                self.record(github, "record-of-first-approval")
        self._comment(github, issue, _COMMENTERS.get(scenario, last), text)
        self._attack(github, scenario, issue, sealed)
        self._read_comment(github, "approve")
        exit_code = codes.EXIT_OK
        # An attacker who gets around the job approve does not stop there, so the next ones are started all the same.
        if scenario is not Scenario.REJECT:
            exit_code = self._claim_and_act(github, digest, "")
            if scenario is Scenario.EXECUTE_TWICE:
                exit_code = self._claim_and_act(github, digest, "-again")
        return exit_code, self.record(github, "record")

    def _comment(self, github: LoopbackGitHub, issue: Dict[str, Any], login: str, text: str) -> None:
        comment = github.comment(issue["number"], login, text)
        self.show(f"{'comment':>11} | {login}: {text}")
        self._start_by(issue, comment)

    def _read_comment(self, github: LoopbackGitHub, folder: str) -> None:
        """Run the job that a comment starts."""
        approve = Job(self.request.folder / folder)
        self.step(github, approve, "approve", ["approve"], {})
        self.upload(github, approve, "receipt", names.RECEIPT_ARTIFACT)
        self.close(github, "approve", "Approve by comment", approve)
        self.trace_id = approve.outputs.get("trace_id", "")

    def _claim_and_act(self, github: LoopbackGitHub, digest: str, suffix: str) -> int:
        claim = Job(self.request.folder / ("claim" + suffix))
        self.step(github, claim, "claim", ["claim"], {"APPROVED_DIGEST": digest})
        if not suffix:
            self.upload(github, claim, "claim", names.CLAIM_ARTIFACT)
            self.close(github, "claim", "Claim", claim)
        if claim.exit_code:
            return claim.exit_code
        title = f"{names.APPROVED_JOB_NAME}{plan.short(digest)}: action on {self.request.resource}"
        return self.act(
            github, "act", {"APPROVED_DIGEST": digest}, title, "", folder="act" + suffix if suffix else ""
        ).exit_code

    def _start_by(self, issue: Dict[str, Any], comment: Dict[str, Any]) -> None:
        """Let the jobs from now on belong to the run that a comment starts."""
        event = self.request.folder / "event.json"
        event.write_text(json.dumps({"action": "created", "issue": issue, "comment": comment}), encoding="utf-8")
        self.run_id = str(int(self.run_id) + 1)
        self.trace_id = ""
        self.changes = {
            "GITHUB_EVENT_NAME": "issue_comment",
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_WORKFLOW": "Agent Runtime - Act on Approval",
            "GITHUB_ACTOR": comment["user"]["login"],
            "GITHUB_TRIGGERING_ACTOR": comment["user"]["login"],
        }
        self.expect("approve", "claim", "act")

    def _attack(self, github: LoopbackGitHub, scenario: Scenario, issue: Dict[str, Any], sealed: Job) -> None:
        number = int(sealed.outputs["report_id"])
        run_id, name, data = github.archives[number]
        if scenario is Scenario.OTHER_RUN:
            other = str(int(self.run_id) + 1)
            self._add_run(github, other, "workflow_dispatch")
            issue["body"] = issue["body"].replace(f"Run `{run_id}`", f"Run `{other}`")
        if scenario in (Scenario.TAMPER, Scenario.SWAP):
            swapped = tampered(data)
            github.keep_archive(number, run_id, name, swapped)
            if scenario is Scenario.TAMPER:
                old, new = (hashlib.sha256(each).hexdigest() for each in (data, swapped))
                issue["body"] = issue["body"].replace(old, new)

    def _add_run(self, github: LoopbackGitHub, run_id: str, event: str) -> None:
        if github.run(run_id) is None:
            github.add_run(
                run_id,
                title=self.request.resource,
                event=event,
                actor=INITIATOR,
                file=names.WORKFLOW_FILE,
                created=shapes.CREATED,
            )
        known = github.run(run_id)
        if known is not None:
            known["head_sha"] = self.runner_variables(github)["GITHUB_SHA"]
