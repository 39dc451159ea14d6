// HL7 v2 messages as Bots know them from @medplum/core: the same names, the same numbering, our own code.
//
// Fields are numbered from 1, and MSH-1 is the separator itself. What was parsed and not changed prints as it came.
(function (core) {
  'use strict';

  class Hl7Context {
    constructor(segment = '\r', field = '|', component = '^', repetition = '~', escape = '\\', subcomponent = '&') {
      this.segmentSeparator = segment;
      this.fieldSeparator = field;
      this.componentSeparator = component;
      this.repetitionSeparator = repetition;
      this.escapeCharacter = escape;
      this.subcomponentSeparator = subcomponent;
    }

    getMsh1() {
      return this.fieldSeparator;
    }

    getMsh2() {
      return [this.componentSeparator, this.repetitionSeparator, this.escapeCharacter, this.subcomponentSeparator].join('');
    }
  }

  // Forgets the text that a part and all around it came from.
  function changed(part) {
    for (let one = part; one; one = one.parent) {
      one.text = undefined;
    }
  }

  // Links a part to what it stands in, without showing that to JSON or to a loop.
  function placed(part, parent) {
    Object.defineProperty(part, 'parent', { value: parent, writable: true, configurable: true, enumerable: false });
    return part;
  }

  function remembered(part, text) {
    Object.defineProperty(part, 'text', { value: text, writable: true, configurable: true, enumerable: false });
    return part;
  }

  class Hl7Message {
    constructor(segments, context = new Hl7Context()) {
      this.context = context;
      this.segments = segments.map((one) => (typeof one === 'string' ? Hl7Segment.parse(one, context) : one));
      this.segments.forEach((one) => placed(one, this));
      remembered(this, undefined);
    }

    static parse(text) {
      if (!text.startsWith('MSH')) {
        throw Object.assign(new Error('Invalid HL7 message'), { type: 'entity.parse.failed' });
      }
      const [field, component, repetition, escape, subcomponent] = text.slice(3, 8);
      const context = new Hl7Context('\r', field, component, repetition, escape, subcomponent);
      return remembered(new Hl7Message(text.split(/[\r\n]+/), context), text);
    }

    get header() {
      if (!this.segments.length) {
        throw new Error("Can't get header before first segment added");
      }
      return this.segments[0];
    }

    get(index) {
      return this.getSegment(index);
    }

    getAll(name) {
      return this.getAllSegments(name);
    }

    getSegment(index) {
      return typeof index === 'number' ? this.segments[index] : this.segments.find((one) => one.name === index);
    }

    getAllSegments(name) {
      return this.segments.filter((one) => one.name === name);
    }

    // MSH is the first segment and no other is; what breaks that is refused with false.
    setSegment(index, segment) {
      const place = typeof index === 'number' ? index : this.segments.findIndex((one) => one.name === index);
      if (place < 0 || (segment.name === 'MSH') !== (place === 0)) {
        return false;
      }
      this.segments[Math.min(place, this.segments.length)] = placed(segment, this);
      changed(this);
      return true;
    }

    toString() {
      return this.text ?? this.segments.map(String).join(this.context.segmentSeparator);
    }

    getAckType() {
      const code = this.getSegment('MSA')?.getField(1)?.toString().toUpperCase();
      return code in core.AckCode ? code : undefined;
    }

    buildAck(options = {}) {
      const code = options.ackCode ?? 'AA';
      const msh = this.getSegment('MSH');
      const field = (number) => msh?.getField(number)?.toString() ?? '';
      const now = new Date();
      const header = ['MSH', this.context.getMsh2(), field(5), field(6), field(3), field(4), core.formatHl7DateTime(now), ''];
      header.push(acknowledgementType(msh), String(now.getTime()), 'P', msh?.getField(12)?.toString() ?? '2.5.1');
      const segments = [
        new Hl7Segment(header, this.context),
        new Hl7Segment(['MSA', code, field(10), ACK_WORDS[code]], this.context),
      ];
      return new Hl7Message(options.errSegment ? [...segments, options.errSegment] : segments);
    }
  }

  // As many components as the message itself has.
  function acknowledgementType(msh) {
    const type = msh?.getField(9);
    const trigger = type?.getComponent(2);
    if (!trigger) {
      return 'ACK';
    }
    return type.getComponent(3) ? `ACK^${trigger}^ACK` : `ACK^${trigger}`;
  }

  class Hl7Segment {
    constructor(fields, context = new Hl7Context()) {
      this.context = context;
      this.fields = fields.map((one) => placed(typeof one === 'string' ? Hl7Field.parse(one, context) : one, this));
      this.name = this.fields[0]?.components[0][0];
      placed(this, undefined);
      remembered(this, undefined);
    }

    static parse(text, context = new Hl7Context()) {
      return remembered(new Hl7Segment(text.split(context.fieldSeparator), context), text);
    }

    // By place in the text, whatever the segment is.
    get(index) {
      return this.fields[index];
    }

    getField(number) {
      if (this.name !== 'MSH' || number < 1) {
        return this.fields[number];
      }
      if (number <= 2) {
        return new Hl7Field([[number === 1 ? this.context.getMsh1() : this.context.getMsh2()]], this.context);
      }
      return this.fields[number - 1];
    }

    getComponent(field, component, subcomponent, repetition = 0) {
      return this.getField(field)?.getComponent(component, subcomponent, repetition) ?? '';
    }

    setField(number, value) {
      if (this.name === 'MSH' && (number === 1 || number === 2)) {
        return false;
      }
      const place = this.name === 'MSH' && number > 2 ? number - 1 : number;
      while (this.fields.length <= place) {
        this.fields.push(placed(new Hl7Field([['']], this.context), this));
      }
      this.fields[place] = placed(typeof value === 'string' ? Hl7Field.parse(value, this.context) : value, this);
      changed(this);
      return true;
    }

    setComponent(field, component, value, subcomponent, repetition = 0) {
      return this.getField(field)?.setComponent(component, value, subcomponent, repetition) ?? false;
    }

    toString() {
      return this.text ?? this.fields.map(String).join(this.context.fieldSeparator);
    }
  }

  class Hl7Field {
    #components;

    constructor(components, context = new Hl7Context()) {
      this.context = context;
      this.#components = components;
      placed(this, undefined);
      remembered(this, undefined);
    }

    static parse(text, context = new Hl7Context()) {
      return remembered(new Hl7Field(undefined, context), text);
    }

    // Taken apart when somebody looks: most fields of a message are never looked at.
    get components() {
      const { componentSeparator, repetitionSeparator } = this.context;
      this.#components ??= this.text.split(repetitionSeparator).map((one) => one.split(componentSeparator));
      return this.#components;
    }

    get(component, subcomponent, repetition = 0) {
      return this.getComponent(component + 1, subcomponent, repetition);
    }

    getComponent(component, subcomponent, repetition = 0) {
      const value = this.components[repetition][component - 1] ?? '';
      return subcomponent === undefined ? value : value.split(this.context.subcomponentSeparator)[subcomponent] ?? '';
    }

    setComponent(component, value, subcomponent, repetition = 0) {
      if (component < 1 || subcomponent < 0) {
        return false;
      }
      while (this.components.length <= repetition) {
        this.components.push(['']);
      }
      const components = this.components[repetition];
      components[component - 1] = subcomponent === undefined ? value : this.withPart(components[component - 1], subcomponent, value);
      changed(this);
      return true;
    }

    withPart(component, place, value) {
      const parts = (component || '').split(this.context.subcomponentSeparator);
      while (parts.length <= place) {
        parts.push('');
      }
      parts[place] = value;
      return parts.join(this.context.subcomponentSeparator);
    }

    toString() {
      const { componentSeparator, repetitionSeparator } = this.context;
      return this.text ?? this.components.map((one) => one.join(componentSeparator)).join(repetitionSeparator);
    }
  }

  const ACK_WORDS = {
    AA: 'OK',
    AE: 'Application Error',
    AR: 'Application Reject',
    CA: 'Commit Accept',
    CE: 'Commit Error',
    CR: 'Commit Reject',
  };

  // 20260301081500.123, in UTC.
  function formatHl7DateTime(when) {
    const date = when instanceof Date ? when : new Date(when);
    const seconds = date.toISOString().slice(0, 19).replace(/[-:T]/g, '');
    const milliseconds = date.getUTCMilliseconds();
    return milliseconds > 0 ? `${seconds}.${milliseconds}` : seconds;
  }

  function parseHl7DateTime(text, options) {
    if (!text) {
      return undefined;
    }
    const part = (from, to, missing) => {
      const number = parseInt(text.slice(from, to), 10);
      return Number.isNaN(number) ? missing : number;
    };
    const milliseconds = text.includes('.') ? part(15, 19, 0) : 0;
    const day = [part(0, 4, 0), part(4, 6, 1) - 1, part(6, 8, 1)];
    const time = Date.UTC(...day, part(8, 10, 0), part(10, 12, 0), part(12, 14, 0), milliseconds);
    return new Date(time - offset(text.match(/[+-]\d{2}:?\d{2}$/)?.[0] ?? options?.tzOffset)).toISOString();
  }

  function offset(text) {
    if (!text) {
      return 0;
    }
    const digits = text.slice(1).replace(':', '');
    const minutes = Number(digits.slice(0, 2)) * 60 + Number(digits.slice(2, 4));
    return (text.startsWith('-') ? -1 : 1) * minutes * 60000;
  }

  core.AckCode = Object.fromEntries(Object.keys(ACK_WORDS).map((code) => [code, code]));
  core.isAckCode = (code) => code !== undefined && Object.hasOwn(core.AckCode, code);
  Object.assign(core, { Hl7Context, Hl7Message, Hl7Segment, Hl7Field, formatHl7DateTime, parseHl7DateTime });
})
