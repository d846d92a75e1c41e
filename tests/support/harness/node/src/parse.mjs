// Workflow and action files as GitHub reads them: its own parser, its own schema, its own conversion of `if`.
import { convertWorkflowTemplate, NoOperationTraceWriter, parseWorkflow } from "@actions/workflow-parser";
import { convertActionTemplate, parseAction } from "@actions/workflow-parser/actions/index";
import { getWorkflowSchema } from "@actions/workflow-parser/workflows/workflow-schema";
import { plain } from "./tokens.mjs";

// `cache-mode` of a job is newer than @actions/workflow-parser 0.3.61.
const { properties } = getWorkflowSchema().getDefinition("job-factory");
properties["cache-mode"] ??= Object.assign(Object.create(Object.getPrototypeOf(properties.name)), {
  ...properties.name,
  type: "non-empty-string",
});

function problems(context) {
  return context.errors.getErrors().map((error) => error.message);
}

function conditions(steps) {
  return steps.map((step) => ({ id: step.id, if: step.if?.expression ?? "success()" }));
}

export async function workflow({ name, content }) {
  const { context, value } = parseWorkflow({ name, content }, new NoOperationTraceWriter());
  if (context.errors.count > 0) {
    return { errors: problems(context) };
  }
  const template = await convertWorkflowTemplate(context, value);
  const jobs = template.jobs.map((job) => ({
    id: job.id.value,
    if: job.if.expression,
    needs: (job.needs ?? []).map((need) => need.value),
    steps: conditions(job.steps ?? []),
  }));
  return { errors: problems(context), tree: plain(value), jobs };
}

export function action({ name, content }) {
  const { context, value } = parseAction({ name, content }, new NoOperationTraceWriter());
  if (context.errors.count > 0) {
    return { errors: problems(context) };
  }
  const template = convertActionTemplate(context, value);
  return { errors: problems(context), tree: plain(value), steps: conditions(template.runs.steps ?? []) };
}
