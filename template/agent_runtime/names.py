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

# The workflow that makes plans, and the one that a comment starts where an issue is the gate.
INVESTIGATE_WORKFLOW = ".github/workflows/agent-investigate-act.yml"
APPROVAL_WORKFLOW = ".github/workflows/agent-act-on-approval.yml"
# Marks the issues that ask for an approval.
GATE_LABEL = "agent-approval"
# A plan is executed by whoever creates the git reference with its digest below this.
CLAIMS = "refs/agent-claims/"

# Environments of the gate.  Fixed: never an answer, never an expression.
GATE_ENVIRONMENT = "agent-approval"
ACT_ENVIRONMENT = "agent-act"

# `metadata.step` of the audit events.
STEP_STARTED = "started"
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
