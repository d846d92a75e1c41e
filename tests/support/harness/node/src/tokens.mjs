// The parser's token tree as plain JSON: mappings, lists and literals as themselves, an expression as {"$expr": text}.
// A string with expressions inside has become one `format(…)` expression in the parser already.
import {
  isBasicExpression,
  isBoolean,
  isMapping,
  isNumber,
  isSequence,
  isString,
} from "@actions/workflow-parser";

export function plain(token) {
  if (isMapping(token)) {
    return Object.fromEntries([...token].map(({ key, value }) => [key.toString(), plain(value)]));
  }
  if (isSequence(token)) {
    return [...token].map(plain);
  }
  if (isBasicExpression(token)) {
    return { $expr: token.expression };
  }
  if (isString(token) || isNumber(token) || isBoolean(token)) {
    return token.value;
  }
  return null;
}
