"""Names that one part writes and another reads: files, artifacts, jobs, environments, steps of the trail."""

from __future__ import annotations

# Files and folders of a job, below its output folder.
DEFAULT_OUT = "agent-run"
# Of *Execute*, apart from those of *Verify* on the same machine.
EXECUTE_OUT = "agent-act"
JOURNAL_FOLDER = "journal"
INVESTIGATION_NAME = "investigation.json"
# The conversation with a language model, where the agent used one.
TRANSCRIPT_NAME = "model-transcript.json"
REPORT_NAME = "investigation-report.json"
TRACE_NAME = "trace-id.txt"
# The policy file that the plan was judged by, whatever its name in the repository.
POLICY_NAME = "policy.yml"
RECEIPT_NAME = "approval-receipt.json"
# Of the comment before the one that started the run, where an issue is the gate and a plan needs two.
FIRST_RECEIPT_NAME = "first-approval-receipt.json"
AUTHORIZATION_NAME = "authorization.json"
PLAN_NAME = "plan.json"
SESSION_POLICY_NAME = "session-policy.json"
RESULT_NAME = "action-result.json"
BUNDLE_FOLDER = "audit-bundle"
# Beside the bundle: that its digest is in the audit backend's transparency log (C2SP tlog-proof).
PROOF_SUFFIX = ".tlog-proof"
# Beside the bundle, too: GitHub's attestation of its digest, where GitHub offers one (a bundle of Sigstore).
ATTESTATION_SUFFIX = ".sigstore.json"
PREDICATE_NAME = "predicate.json"
PREDICATE_TYPE = "https://aimgentix.dev/specs/run-attestation/v1"
MANIFEST_NAME = "bundle.json"

# Artifacts.  Those of the job that acts without asking end in `-auto`, so that a count can distinguish them.
INVESTIGATION_ARTIFACT = "investigation"
REPORT_ARTIFACT = "investigation-report"
RECEIPT_ARTIFACT = "approval-receipt"
SECOND = "-second"  # after it, for the receipt of the second approval
CLAIM_ARTIFACT = "plan-claim"
AUTHORIZATION_ARTIFACT = "action-authorization"
RESULT_ARTIFACT = "action-result"
BUNDLE_ARTIFACT = "audit-bundle"
AUTO = "-auto"
# A run that is over without any of these began no action.  The receipt and what *Verify* found are there before an
# action begins; the last one a job makes that runs no team code, when nothing of the team's is left to delete it.
ACTION_RECORD = "action-record"
ACTION_ARTIFACTS = (
    RECEIPT_ARTIFACT,
    AUTHORIZATION_ARTIFACT,
    AUTHORIZATION_ARTIFACT + AUTO,
    RESULT_ARTIFACT,
    RESULT_ARTIFACT + AUTO,
    ACTION_RECORD,
)

# Where an issue is the gate: what marks it.  Whoever creates the git reference of a plan's digest may execute the plan.
GATE_LABEL = "agent-approval"
CLAIMS = "refs/agent-claims/"

# What acts with a job's own token.
JOBS_AUTHOR = "github-actions[bot]"

# Environments.  Fixed: never an answer, never an expression.
GATE_ENVIRONMENT = "agent-approval"
# Where the policy asks for two approvals.  One environment for each: two jobs that wait in one open by one click.
SECOND_ENVIRONMENT = "agent-approval-second"
GATE_ENVIRONMENTS = (GATE_ENVIRONMENT, SECOND_ENVIRONMENT)
ACT_ENVIRONMENT = "agent-act"
AUTO_ENVIRONMENT = "agent-auto"
INVESTIGATE_ENVIRONMENT = "agent-investigate"
# Holds the addresses to which messages are sent.  The gate does not depend on it.
NOTIFY_ENVIRONMENT = "agent-notify"
NOTIFY_SECRET = "AGENT_NOTIFY_URLS"  # noqa: S105  the name of a secret
# Holds the key of the GitHub App that proposes updates of the template; only where the variable names one.
UPDATE_ENVIRONMENT = "agent-update"
UPDATE_APP = "AGENT_UPDATE_APP"
UPDATE_LABEL = "agent-update"
UPDATE_SECRET = "AGENT_UPDATE_KEY"  # noqa: S105  the name of a secret

WORKFLOW_FILE = "agent-investigate-act.yml"
REPORT_FILE = "agent-report.yml"
UPDATE_FILE = "agent-update.yml"
# The one that the first calls to have the bundle attested, where GitHub offers that.
ATTEST_FILE = "agent-attest.yml"
# The one that a comment starts, where an issue is the gate.
APPROVAL_WORKFLOW_FILE = "agent-act-on-approval.yml"
INVESTIGATE_WORKFLOW = ".github/workflows/" + WORKFLOW_FILE

# Jobs by their ids, in the order of a run, and the part of `act` that verifies.
JOBS = ("investigate", "seal", "ask", "approve", "approve-second", "claim", "act", "record")
SECOND_JOB = "approve-second"
AUTO_JOB = "act-auto"
VERIFY = "verify"

# Jobs as GitHub shows them.  Names with expressions may be cut at 100 characters: the plan's digest is in front.
INVESTIGATE_JOB = "Investigate"
SEAL_JOB = "Seal"
APPROVE_JOB = "Approve plan "
SECOND_MARK = " (2 of 2)"  # after the digest in the name of the second such job
ACT_JOB_NAME = "Act"
AUTO_JOB_NAME = "Act without asking on plan "
APPROVED_JOB_NAME = "Act on approval of plan "
MAX_JOB_NAME = 100
# The steps of the jobs that act, as GitHub shows them.
VERIFY_STEP = "Verify"
EXECUTE_STEP = "Execute"

# Set by `simulate`, for the job `record` alone: its bundle says that nobody on GitHub was asked.
SIMULATED = "AGENT_SIMULATED"

# How the jobs that decide get what `act_variables` names: under a name that no program takes for a setting of its own.
VARIABLE = "AGENT_VARIABLE_"

# Of a plan's step that was never begun, where other steps have a status of their own.
NOT_RUN = "not_run"

# `metadata.step` of the audit events.
STEP_STARTED = "started"
STEP_DUPLICATE = "duplicate"
STEP_MODEL = "model_answered"
STEP_TOOL = "tool_called"
STEP_TRANSCRIPT = "transcript_kept"
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
