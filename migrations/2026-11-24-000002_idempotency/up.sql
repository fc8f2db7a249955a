-- The first answers to requests with an Idempotency-Key, kept for a day.

create table idempotency_keys (
    -- No foreign key: the nil UUID stands for requests that have no tenant, like the one that registers it.
    tenant_id   uuid        not null,
    -- The nil UUID stands for anonymous callers.
    actor_id    uuid        not null,
    operation   text        not null,
    key         text        not null check (char_length(key) between 1 and 255),
    -- A keyed hash of the request: the same key with another request is refused.
    fingerprint text        not null,
    -- The answer, sealed: it may hold secrets. Null until the effect commits.
    response    text,
    created_at  timestamptz not null default now(),
    primary key (tenant_id, actor_id, operation, key)
);
create index idempotency_keys_created on idempotency_keys (created_at);
select isolate_table('idempotency_keys');
grant select, insert, update (fingerprint, response, created_at) on idempotency_keys to mercato_app;
-- Registering a tenant is work of the system role; sweeping is too, and sees only what has had its day.
create policy without_tenant on idempotency_keys to mercato_system
    using (tenant_id = '00000000-0000-0000-0000-000000000000')
    with check (tenant_id = '00000000-0000-0000-0000-000000000000');
create policy expired_seen on idempotency_keys for select to mercato_system
    using (created_at < now() - interval '24 hours');
create policy expired_swept on idempotency_keys for delete to mercato_system
    using (created_at < now() - interval '24 hours');
grant select, insert, update (fingerprint, response, created_at), delete on idempotency_keys to mercato_system;
