-- What owners registered and did not delete. No hash of a key and no secret is here.
CREATE TABLE services (
    service_id  text COLLATE "C" CONSTRAINT services_key PRIMARY KEY,
    namespace   text COLLATE "C" NOT NULL,
    slug        text COLLATE "C" NOT NULL,
    name        text NOT NULL,
    description text NOT NULL,
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    position    bigint NOT NULL,
    CONSTRAINT services_slug UNIQUE (namespace, slug)
);
CREATE INDEX services_oldest ON services (namespace, position, service_id);

CREATE TABLE service_keys (
    key_id     text COLLATE "C" CONSTRAINT service_keys_key PRIMARY KEY,
    service_id text COLLATE "C" NOT NULL,
    name       text NOT NULL,
    prefix     text NOT NULL,
    active     boolean NOT NULL,
    created_at timestamptz NOT NULL,
    position   bigint NOT NULL
);
CREATE INDEX service_keys_oldest ON service_keys (service_id, position, key_id);

CREATE TABLE management_keys (
    key_id      text COLLATE "C" CONSTRAINT management_keys_key PRIMARY KEY,
    namespace   text COLLATE "C" NOT NULL,
    name        text NOT NULL,
    last_four   text NOT NULL,
    permissions text[] NOT NULL,
    active      boolean NOT NULL,
    created_at  timestamptz NOT NULL,
    position    bigint NOT NULL
);
CREATE INDEX management_keys_oldest ON management_keys (namespace, position, key_id);

CREATE TABLE webhooks (
    webhook_id  text COLLATE "C" CONSTRAINT webhooks_key PRIMARY KEY,
    service_id  text COLLATE "C" NOT NULL,
    url         text NOT NULL,
    events      text[] NOT NULL,
    description text NOT NULL,
    auth_header text NOT NULL,
    active      boolean NOT NULL,
    created_at  timestamptz NOT NULL,
    position    bigint NOT NULL
);
CREATE INDEX webhooks_oldest ON webhooks (service_id, position, webhook_id);
