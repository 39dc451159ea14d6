// Checks message fixtures against the types that @medplum/core publishes.
//
//   node fixtures.mjs FOLDER
//
// Each FOLDER/*.json becomes one TypeScript literal that must satisfy the type of its message kind; an unknown
// member, a missing one and a wrong value are compiler errors. Nothing is written to disk. Exits 1 on any mistake.

import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { MEDPLUM_VERSION } from '@medplum/core';
import ts from 'typescript';

const TYPES = {
  'agent:connect:request': 'AgentConnectRequest',
  'agent:connect:response': 'AgentConnectResponse',
  'agent:heartbeat:request': 'AgentHeartbeatRequest',
  'agent:heartbeat:response': 'AgentHeartbeatResponse',
  'agent:transmit:request': 'AgentTransmitRequest',
  'agent:transmit:response': 'AgentTransmitResponse',
  'agent:reloadconfig:request': 'AgentReloadConfigRequest',
  'agent:reloadconfig:response': 'AgentReloadConfigResponse',
  'agent:upgrade:request': 'AgentUpgradeRequest',
  'agent:upgrade:response': 'AgentUpgradeResponse',
  'agent:logs:request': 'AgentLogsRequest',
  'agent:logs:response': 'AgentLogsResponse',
  'agent:stats:request': 'AgentStatsRequest',
  'agent:stats:response': 'AgentStatsResponse',
  'agent:error': 'AgentError',
};

const OPTIONS = {
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: [],
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
};

const [folder] = process.argv.slice(2);
const names = readdirSync(folder).filter((name) => name.endsWith('.json')).sort();
const sources = new Map(names.map((name) => [pathOf(name), sourceOf(join(folder, name))]));
const problems = check(sources);
for (const problem of problems) {
  console.error(problem);
}
console.log(`${names.length} fixtures, ${problems.length} mistakes, against @medplum/core ${MEDPLUM_VERSION}`);
process.exit(problems.length > 0 || names.length === 0 ? 1 : 0);

// The imagined file stands beside this one, so that it finds node_modules.
function pathOf(name) {
  return join(import.meta.dirname, `${basename(name, '.json')}.fixture.ts`);
}

function sourceOf(path) {
  const text = readFileSync(path, 'utf8');
  const type = TYPES[JSON.parse(text).type] ?? 'never';
  return `import type { ${type === 'never' ? '' : type} } from '@medplum/core';\n(${text.trim()}) satisfies ${type};\n`;
}

function check(sources) {
  const host = ts.createCompilerHost(OPTIONS);
  const { getSourceFile, fileExists, readFile } = host;
  host.fileExists = (path) => sources.has(path) || fileExists(path);
  host.readFile = (path) => sources.get(path) ?? readFile(path);
  host.getSourceFile = (path, ...rest) =>
    sources.has(path) ? ts.createSourceFile(path, sources.get(path), ...rest) : getSourceFile(path, ...rest);
  const program = ts.createProgram([...sources.keys()], OPTIONS, host);
  return ts.getPreEmitDiagnostics(program).map(sentenceOf);
}

function sentenceOf({ file, start, messageText }) {
  const text = ts.flattenDiagnosticMessageText(messageText, ' ');
  if (!file) {
    return text;
  }
  const { line } = file.getLineAndCharacterOfPosition(start);
  return `${basename(file.fileName, '.fixture.ts')}.json:${line}: ${text}`;
}
