// One expression against given contexts, by GitHub's own evaluator. The runner's part is added here: the status
// functions, whose answers the caller knows, and hashFiles over the caller's workspace.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import path from "node:path";
import { data, Evaluator, Lexer, Parser } from "@actions/expressions";
import { reviver } from "@actions/expressions/data/reviver";
import { replacer } from "@actions/expressions/data/replacer";
import { truthy } from "@actions/expressions/result";
import glob from "fast-glob";

function hashFiles(workspace, patterns) {
  const files = glob.sync(patterns, { cwd: workspace, dot: true }).sort();
  if (files.length === 0) {
    return "";
  }
  const whole = createHash("sha256");
  for (const file of files) {
    whole.update(createHash("sha256").update(readFileSync(path.join(workspace, file))).digest());
  }
  return whole.digest("hex");
}

function runnerFunctions(status, workspace) {
  const answer = (name) => ({
    name,
    minArgs: 0,
    maxArgs: 0,
    call: () => new data.BooleanData(Boolean(status[name])),
  });
  return [
    ...["success", "failure", "cancelled"].map(answer),
    { name: "always", minArgs: 0, maxArgs: 0, call: () => new data.BooleanData(true) },
    {
      name: "hashFiles",
      minArgs: 1,
      maxArgs: 255,
      call: (...patterns) => new data.StringData(hashFiles(workspace, patterns.map((p) => p.coerceString()))),
    },
  ];
}

// @actions/expressions 0.3.61 undoes only the first '' of a string; GitHub undoes every one.
function lex(expression) {
  const { tokens } = new Lexer(expression).lex();
  for (const token of tokens) {
    if (token.lexeme.startsWith("'")) {
      token.value = token.lexeme.slice(1, -1).replaceAll("''", "'");
    }
  }
  return tokens;
}

export function evaluate({ expression, contexts, status = {}, workspace = "" }) {
  const functions = runnerFunctions(status, workspace);
  const tree = new Parser(lex(expression), Object.keys(contexts), functions).parse();
  const values = JSON.parse(JSON.stringify(contexts), reviver);
  const byName = new Map(functions.map((definition) => [definition.name.toLowerCase(), definition]));
  const result = new Evaluator(tree, values, byName).evaluate();
  return {
    value: JSON.parse(JSON.stringify(result, replacer)),
    text: result.coerceString(),
    truthy: truthy(result),
  };
}
