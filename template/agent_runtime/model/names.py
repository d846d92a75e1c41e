"""Names that one part writes and another reads: files, artifacts, jobs, environments, steps of the trail."""

from __future__ import annotations

# Files and folders of a job, below its output folder.
DEFAULT_OUT = "agent-run"
# Of *Execute*, apart from those of *Verify* on the same machine.
EXECUTE_OUT = "agent-act"
JOURNAL_FOLDER = "journal"
INVESTIGATION_NAME = "investigation.json"
REPORT_NAME = "investigation-report.json"
TRACE_NAME = "trace-id.txt"
RECEIPT_NAME = "approval-receipt.json"
AUTHORIZATION_NAME = "authorization.json"
PLAN_NAME = "plan.json"
RESULT_NAME = "action-result.json"
BUNDLE_FOLDER = "audit-bundle"
MANIFEST_NAME = "bundle.json"

# Artifacts.  Those of the job that acts without asking end in `-auto`, so that a count can distinguish them.
INVESTIGATION_ARTIFACT = "investigation"
REPORT_ARTIFACT = "investigation-report"
RECEIPT_ARTIFACT = "approval-receipt"
CLAIM_ARTIFACT = "plan-claim"
AUTHORIZATION_ARTIFACT = "action-authorization"
RESULT_ARTIFACT = "action-result"
BUNDLE_ARTIFACT = "audit-bundle"
AUTO = "-auto"
# A run without any of these began no action: each is there before an action begins, but the last.
ACTION_ARTIFACTS = (
    RECEIPT_ARTIFACT,
    AUTHORIZATION_ARTIFACT,
    AUTHORIZATION_ARTIFACT + AUTO,
    RESULT_ARTIFACT,
    RESULT_ARTIFACT + AUTO,
)

# Where an issue is the gate: what marks it.  Whoever creates the git reference of a plan's digest may execute the plan.
GATE_LABEL = "agent-approval"
CLAIMS = "refs/agent-claims/"

# Environments.  Fixed: never an answer, never an expression.
GATE_ENVIRONMENT = "agent-approval"
ACT_ENVIRONMENT = "agent-act"
AUTO_ENVIRONMENT = "agent-auto"
INVESTIGATE_ENVIRONMENT = "agent-investigate"

WORKFLOW_FILE = "agent-investigate-act.yml"
REPORT_FILE = "agent-report.yml"
# The one that a comment starts, where an issue is the gate.
APPROVAL_WORKFLOW_FILE = "agent-act-on-approval.yml"
INVESTIGATE_WORKFLOW = ".github/workflows/" + WORKFLOW_FILE

# Jobs by their ids, in the order of a run, and the part of `act` that verifies.
JOBS = ("investigate", "seal", "ask", "approve", "claim", "act", "record")
AUTO_JOB = "act-auto"
VERIFY = "verify"

# Jobs as GitHub shows them.  Names with expressions may be cut at 100 characters: the plan's digest is in front.
INVESTIGATE_JOB = "Investigate"
SEAL_JOB = "Seal"
APPROVE_JOB = "Approve plan "
ACT_JOB_NAME = "Act"
AUTO_JOB_NAME = "Act without asking on plan "
APPROVED_JOB_NAME = "Act on approval of plan "
MAX_JOB_NAME = 100
# The steps of the jobs that act, as GitHub shows them.
VERIFY_STEP = "Verify"
EXECUTE_STEP = "Execute"

# `metadata.step` of the audit events.
STEP_STARTED = "started"
STEP_DUPLICATE = "duplicate"
STEP_INVESTIGATED = "investigated"
STEP_POLICY = "policy_evaluated"
STEP_SEALED = "plan_sealed"
STEP_ASKED = "approval_asked"
STEP_APPROVED = "approved"
STEP_CLAIMED = "plan_claimed"
STEP_CHECK = "gate_check"
STEP_AUTHORIZED = "authorized"
STEP_INTENT = "intent"
STEP_OUTCOME = "outcome"
STEP_FINISHED = "finished"
STEP_ERROR = "error"
STEP_TERMINAL = "terminal"
