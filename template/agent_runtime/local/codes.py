"""Codes of what a person runs: the jobs of a run don't load them."""

from __future__ import annotations

from agent_runtime.codes import register

# Start.
AGENT_MISSING = register(
    "RUN001",
    "agent_runner.py is not in the root of this repository",
    "Restore it from the history (git log -- agent_runner.py); its name and its place are fixed",
)

# The policy and its cases.
PARAMETERS_INVALID = register(
    "POL003",
    "the parameters are not a JSON object",
    "Give what the action would get, for example --parameters '{\"error_rate\": 0.31}'",
)
RULE_NEVER = register(
    "POL004",
    "a rule of the policy can never match",
    "Correct or remove it; see specs/github-actions-agent-runtime.md, section Policy",
)
CASE_FAILED = register(
    "POL005",
    "the policy does not say what a case in tests/policy.yml expects",
    "Correct the policy, or the case if it is what changed",
)
CASES_INVALID = register(
    "POL006",
    "the cases of the policy can't be read",
    "Fix the named line of tests/policy.yml; see specs/github-actions-agent-runtime.md, section Cases of a policy",
)

# Evidence that an auditor brings.
EVIDENCE_REFUTED = register(
    "TRAIL08",
    "the proof does not show that this bundle is in the log",
    "Get the proof once more: from the run's artifact audit-proof, or from the audit backend. If it fails again, ask "
    "the operators of the log and of its witnesses, with this line",
)
EVIDENCE_UNREADABLE = register(
    "TRAIL09",
    "the evidence can't be checked here",
    "Fix what is named. What checks signatures is the package cryptography, and of GitHub's attestations sigstore: "
    ".venv/bin/python -m pip install cryptography sigstore",
)
ATTESTATION_REFUTED = register(
    "TRAIL10",
    "GitHub's attestation does not show that this is the bundle of that run",
    "Get the attestation once more: from the run's artifact audit-attestation, or with gh attestation download. If it "
    "fails again, treat the run as not proven, and ask whoever can change the workflows, with this line",
)

# Settings of the repository on GitHub: what setup and doctor ask for and change.
TOKEN_UNUSABLE = register(
    "SET001",
    "GitHub needs a token for this",
    "Set GH_TOKEN to a token, such as the one that `gh auth token` prints; setup needs administrator rights on the "
    "repository",
)
REPOSITORY_UNKNOWN = register(
    "SET002",
    "the repository is not there",
    "Name it with --repo owner/name, or change the answer: python agent_runner.py update --set "
    "github_repository=OWNER/NAME",
)
APPROVER_UNUSABLE = register(
    "SET003",
    "an approver can't review",
    "Change the answer with: python agent_runner.py update --set approvers=LOGIN,ORG/TEAM; or name others with "
    "--reviewer",
)
PLAN_WITHOUT_GATE = register(
    "SET004",
    "the repository's plan has no required reviewers",
    "See docs/SETUP_GUIDE.md, step 1; until then the agent investigates and refuses to act",
)
RIGHTS_MISSING = register(
    "SET005",
    "the token may not change the settings",
    "Let an administrator of the repository run it; a fine-grained token needs the permission Administration: write",
)
SETTING_REFUSED = register(
    "SET006",
    "GitHub did not apply a setting",
    "Look at the named request; run it again, or change the setting in the browser as docs/SETUP_GUIDE.md says",
)
GATE_STILL_OPEN = register(
    "SET007",
    "the settings do not close the gate yet",
    "Fix what is named, then check that the gate is closed with: python agent_runner.py doctor",
)
GITHUB_SILENT = register(
    "SET008",
    "GitHub did not answer as documented",
    "Look at https://www.githubstatus.com and at the token's permissions, then run it again",
)
