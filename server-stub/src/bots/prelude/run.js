// Loads a Bot and runs it once. The host calls `load`, then `run`, and reads the JSON that `run` comes to.
(function (core, host) {
  'use strict';

  // A name that the published package has and this one has not fails where it is used, with a sentence.
  const offered = new Proxy(core, {
    get(known, name) {
      if (typeof name === 'symbol' || name in known || ['__esModule', 'default', 'then', 'toJSON'].includes(name)) {
        return name === '__esModule' ? true : known[name];
      }
      throw new Error(`The stub's @medplum/core has no ${name}`);
    },
  });
  const modules = {
    '@medplum/core': offered,
    '@medplum/fhirtypes': {},
    crypto: { randomUUID: core.generateId },
  };

  function require(name) {
    const module = modules[name.replace(/^node:/, '')];
    if (!module) {
      throw new Error(`Cannot find module '${name}': the stub offers @medplum/core only; bundle what else the Bot needs`);
    }
    return module;
  }

  Object.assign(globalThis, {
    MedplumClient: core.MedplumClient,
    Hl7Message: core.Hl7Message,
    ContentType: core.ContentType,
    require,
  });

  let handler;

  function load(code, title) {
    const module = { exports: {} };
    const before = module.exports;
    code.call(before, before, require, module, title, '.');
    handler = module.exports.handler ?? before.handler;
    if (typeof handler !== 'function') {
      throw new Error(`${title} has no exports.handler`);
    }
  }

  async function run(text) {
    try {
      const event = JSON.parse(text);
      const isHl7 = event.contentType === core.ContentType.HL7_V2;
      if (isHl7 && event.input) {
        event.input = core.Hl7Message.parse(event.input);
      }
      const value = await handler(new core.MedplumClient(), event);
      return JSON.stringify({ value: isHl7 && value ? String(value) : value ?? null });
    } catch (error) {
      return report(error);
    }
  }

  function report(error) {
    const outcome = core.normalizeOperationOutcome(error);
    const name = error instanceof Error ? error.name : 'Error';
    const stack = error instanceof Error ? error.stack : '';
    return JSON.stringify({ error: { outcome, name, message: core.normalizeErrorString(error), stack } });
  }

  return { load, run, report, untilTimer: core.untilTimer, runTimer: core.runTimer };
})
