"""Names that one part writes and another reads: files, folders, steps of the trail."""

from __future__ import annotations

# Files and folders of a phase, below its output folder.
DEFAULT_OUT = "agent-run"
JOURNAL_FOLDER = "journal"
REPORT_NAME = "investigation-report.json"
TRACE_NAME = "trace-id.txt"
RECEIPT_NAME = "approval-receipt.json"
# Where the job that examines a comment leaves the investigation that it found.
INVESTIGATION_FOLDER = "investigate"
RESULT_NAME = "action-result.json"
BUNDLE_FOLDER = "audit-bundle"
MANIFEST_NAME = "bundle.json"

# The artifact that tells that a plan was executed, or refused, in this attempt.
RESULT_ARTIFACT = "action-result"
REPORT_ARTIFACT = "investigation-report"
# The same of an action that nobody was asked about, and what its job uploads before it begins.
AUTO_RESULT_ARTIFACT = "action-result-auto"
AUTO_CLAIM_ARTIFACT = "auto-claim"
RECEIPT_ARTIFACT = "approval-receipt"
# A run without any of these began no action: two are there before an action begins, one remains after it.
ACTION_ARTIFACTS = (RECEIPT_ARTIFACT, AUTO_CLAIM_ARTIFACT, RESULT_ARTIFACT)

# The job that acts without asking, by its id; and how the jobs that may act are named for people.
AUTO_JOB = "act-auto"
ACT_JOB_NAME = "Act"
AUTO_JOB_NAME = "Act without asking"
APPROVED_JOB_NAME = "Act on approval"
BUNDLE_ARTIFACT = "audit-bundle"

# Where an issue is the gate: what marks it.  Whoever creates the git reference of a plan's digest may execute the plan.
GATE_LABEL = "agent-approval"
CLAIMS = "refs/agent-claims/"

# Environments of the gate.  Fixed: never an answer, never an expression.
GATE_ENVIRONMENT = "agent-approval"
ACT_ENVIRONMENT = "agent-act"
AUTO_ENVIRONMENT = "agent-auto"

# The workflow, and its jobs as GitHub shows them; the name of approve goes on with action, resource and plan.
WORKFLOW_FILE = "agent-investigate-act.yml"
REPORT_FILE = "agent-report.yml"
# The one that a comment starts, where an issue is the gate.
APPROVAL_WORKFLOW_FILE = "agent-act-on-approval.yml"
INVESTIGATE_WORKFLOW = ".github/workflows/" + WORKFLOW_FILE
INVESTIGATE_JOB = "Investigate"
APPROVE_JOB = "Approve "

# `metadata.step` of the audit events.
STEP_STARTED = "started"
STEP_FOLDED = "folded"
STEP_INVESTIGATED = "investigated"
STEP_POLICY = "policy_evaluated"
STEP_SEALED = "plan_sealed"
STEP_ASKED = "approval_asked"
STEP_APPROVED = "approved"
STEP_CHECK = "gate_check"
STEP_INTENT = "intent"
STEP_OUTCOME = "outcome"
STEP_FINISHED = "finished"
STEP_ERROR = "error"
STEP_TERMINAL = "terminal"
