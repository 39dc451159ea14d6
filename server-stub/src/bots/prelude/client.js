// The MedplumClient that a Bot is handed. Each call is one request to this stub, as the membership that the Bot runs as.
//
// A call is carried out before it returns; its promise is settled at once. Nothing is cached and nothing is tried again.
(function (core, host) {
  'use strict';

  const { ContentType } = core;
  const isBytes = (data) => data instanceof Uint8Array || data instanceof ArrayBuffer;

  // A query as it stands in a URL, from any of the forms that MedplumClient takes.
  function queryText(query) {
    if (query === undefined || query === null) {
      return '';
    }
    if (typeof query === 'string') {
      return query.replace(/^\?/, '');
    }
    const pairs = Array.isArray(query) ? query : Object.entries(query);
    const given = pairs.filter(([, value]) => value !== undefined && value !== '');
    return given.map((pair) => pair.map((part) => encodeURIComponent(String(part))).join('=')).join('&');
  }

  function withQuery(path, query) {
    const text = queryText(query);
    return text ? `${path}?${text}` : path;
  }

  // Everything below fhir/R4/, from a relative path, a whole address or what fhirUrl gives.
  function pathOf(url) {
    const text = String(url).replace(/^https?:\/\/[^/]+/, '').replace(/^\/+/, '');
    const path = text.startsWith('fhir/R4') ? text : `fhir/R4/${text}`;
    return `/${path.replace(/[^\x21-\x7e]|["<>]/g, encodeURIComponent)}`;
  }

  function send(method, url, { body, contentType, options } = {}) {
    const headers = { accept: 'application/fhir+json, */*; q=0.1', ...options?.headers };
    let text = body;
    if (body !== undefined) {
      headers['content-type'] = contentType ?? ContentType.FHIR_JSON;
      text = typeof body === 'string' ? body : JSON.stringify(body);
    }
    const answer = JSON.parse(host.request(method, pathOf(url), JSON.stringify(headers), text ?? ''));
    const value = answer.type.includes('json') && answer.body ? JSON.parse(answer.body) : answer.body;
    if (answer.status >= 400) {
      throw new core.OperationOutcomeError(core.normalizeOperationOutcome(value));
    }
    return value;
  }

  class MedplumClient {
    fhirUrl(...path) {
      return ['fhir/R4', ...path].join('/');
    }

    fhirSearchUrl(kind, query) {
      return withQuery(this.fhirUrl(kind), query);
    }

    getBaseUrl() {
      return host.baseUrl;
    }

    async get(url, options) {
      return send('GET', url, { options });
    }

    async post(url, body, contentType, options) {
      return send('POST', url, { body, contentType, options });
    }

    async put(url, body, contentType, options) {
      return send('PUT', url, { body, contentType, options });
    }

    async patch(url, body, options) {
      return send('PATCH', url, { body, contentType: ContentType.JSON_PATCH, options });
    }

    async delete(url, options) {
      return send('DELETE', url, { options });
    }

    async search(kind, query, options) {
      return send('GET', this.fhirSearchUrl(kind, query), { options });
    }

    async searchResources(kind, query, options) {
      const bundle = send('GET', this.fhirSearchUrl(kind, query), { options });
      const found = bundle.entry?.map((one) => one.resource) ?? [];
      return Object.assign(found, { bundle });
    }

    async searchOne(kind, query, options) {
      const one = [queryText(query), '_count=1'].filter(Boolean).join('&');
      return send('GET', this.fhirSearchUrl(kind, one), { options }).entry?.[0]?.resource;
    }

    async *searchResourcePages(kind, query, options) {
      for (let url = this.fhirSearchUrl(kind, query); url; ) {
        const bundle = send('GET', url, { options });
        yield Object.assign(bundle.entry?.map((one) => one.resource) ?? [], { bundle });
        url = bundle.link?.find((one) => one.relation === 'next')?.url;
      }
    }

    async readResource(kind, id, options) {
      if (!id) {
        throw new Error('The "id" parameter cannot be null, undefined, or an empty string.');
      }
      return send('GET', this.fhirUrl(kind, id), { options });
    }

    async readReference(reference, options) {
      const text = reference?.reference;
      if (!text) {
        throw new Error('Missing reference');
      }
      const [kind, id] = text.split('/');
      if (!kind || !id) {
        throw new Error('Invalid reference');
      }
      return send('GET', this.fhirUrl(kind, id), { options });
    }

    async readHistory(kind, id, options) {
      return send('GET', withQuery(this.fhirUrl(kind, id, '_history'), pages(options)), { options });
    }

    async readVersion(kind, id, version, options) {
      return send('GET', this.fhirUrl(kind, id, '_history', version), { options });
    }

    async createResource(resource, options) {
      return send('POST', this.fhirUrl(typeOf(resource)), { body: resource, options });
    }

    async createResourceIfNoneExist(resource, query, options) {
      const headers = { ...options?.headers, 'if-none-exist': queryText(query) };
      return send('POST', this.fhirUrl(typeOf(resource)), { body: resource, options: { headers } });
    }

    async updateResource(resource, options) {
      const kind = typeOf(resource);
      if (!resource.id) {
        throw new Error('Missing id');
      }
      return send('PUT', this.fhirUrl(kind, resource.id), { body: resource, options });
    }

    async patchResource(kind, id, steps, options) {
      return this.patch(this.fhirUrl(kind, id), steps, options);
    }

    async deleteResource(kind, id, options) {
      return send('DELETE', this.fhirUrl(kind, id), { options });
    }

    async createBinary(first, filename, contentType) {
      const { data, ...rest } = isBytes(first) || typeof first === 'string' ? { data: first, filename, contentType } : first;
      const url = withQuery(this.fhirUrl('Binary'), { _filename: rest.filename });
      if (!isBytes(data)) {
        return send('POST', url, { body: data, contentType: rest.contentType });
      }
      const encoded = core.bytesToBase64(data instanceof ArrayBuffer ? new Uint8Array(data) : data);
      return send('POST', url, { body: { resourceType: 'Binary', contentType: rest.contentType, data: encoded } });
    }

    async createAttachment(first, filename, contentType) {
      const whole = isBytes(first) || typeof first === 'string' ? { data: first, filename, contentType } : first;
      const { url } = await this.createBinary(whole);
      return { contentType: whole.contentType, url, title: whole.filename };
    }

    async pushToAgent(agent, destination, body, contentType, waitForResponse, options) {
      const { waitTimeout, returnAck, ...rest } = options ?? {};
      const push = {
        destination: typeof destination === 'string' ? destination : core.getReferenceString(destination),
        body,
        contentType,
        waitForResponse,
        waitTimeout,
        returnAck,
      };
      return send('POST', this.fhirUrl('Agent', core.resolveId(agent), '$push'), { body: push, options: rest });
    }

    async executeBot(bot, body, contentType, options) {
      const url =
        typeof bot === 'string'
          ? this.fhirUrl('Bot', bot, '$execute')
          : withQuery(this.fhirUrl('Bot', '$execute'), { identifier: `${bot.system}|${bot.value}` });
      return send('POST', url, { body, contentType, options });
    }

    invalidateAll() {}
    invalidateSearches() {}
    invalidateUrl() {}
  }

  function typeOf(resource) {
    if (!resource.resourceType) {
      throw new Error('Missing resourceType');
    }
    return resource.resourceType;
  }

  const pages = (options) => ({ _count: options?.count, _offset: options?.offset });

  core.MedplumClient = MedplumClient;
})
