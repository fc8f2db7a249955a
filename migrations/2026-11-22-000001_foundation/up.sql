-- What every later table builds on: identifiers, the session's settings, and the two trigger functions
-- (audit and updated_at). Roles are made once per cluster by deploy/postgres/roles.sql.

create extension if not exists btree_gin;

grant usage on schema public to mercato_app, mercato_system, mercato_audit, mercato_search;

-- A version 7 UUID (RFC 9562, section 5.7) for rows that the database itself writes: audit rows and ledgers.
-- 48 bits of Unix milliseconds, then the version, the variant and 74 random bits.
create function uuid_v7() returns uuid
language sql volatile parallel safe
as $$
    select encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
                from 1 for 6),
            52, 1), 53, 1),
        'hex')::uuid
$$;

-- Who acts, as the session's settings say; null for anonymous callers and background work.
create function session_user_id() returns uuid
language sql stable parallel safe
as $$ select nullif(current_setting('app.user_id', true), '')::uuid $$;

create function session_request_id() returns text
language sql stable parallel safe
as $$ select nullif(current_setting('app.request_id', true), '') $$;

create function set_updated_at() returns trigger
language plpgsql
as $$
begin
    new.updated_at := now();
    return new;
end
$$;

-- Kept seven years and append-only: no role that a server or job uses may update, delete or truncate it.
create table audit_logs (
    id          uuid        not null default uuid_v7(),
    tenant_id   uuid        not null,
    user_id     uuid,
    action      text        not null check (action in ('CREATE', 'UPDATE', 'DELETE')),
    resource    text        not null,
    resource_id uuid        not null,
    changes     jsonb       not null,
    request_id  text,
    "timestamp" timestamptz not null default now(),
    primary key (tenant_id, id)
);
create index audit_logs_tenant_timestamp on audit_logs (tenant_id, "timestamp", id);
create index audit_logs_tenant_resource on audit_logs (tenant_id, resource, resource_id, "timestamp", id);

alter table audit_logs enable row level security;
alter table audit_logs force row level security;
create policy tenant_isolation on audit_logs
    using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid))
    with check (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy audit_writer on audit_logs for insert to mercato_audit with check (true);
grant select on audit_logs to mercato_app;
grant insert on audit_logs to mercato_audit;

-- One audit row for each changed row, one statement for all of them. The trigger's arguments name columns
-- that must never be copied (secrets) or need not be (derived values). It runs as mercato_audit, which can
-- insert here and do nothing else, so that no code path can skip, forge or erase an entry.
create function write_audit() returns trigger
language plpgsql security definer
set search_path = pg_catalog, public, pg_temp
as $$
declare
    omitted constant text[] := coalesce(tg_argv[0]::text[], '{}');
begin
    if tg_op = 'INSERT' then
        insert into audit_logs (tenant_id, user_id, action, resource, resource_id, changes, request_id)
        select coalesce(n.j ->> 'tenant_id', n.j ->> 'id')::uuid, session_user_id(), 'CREATE', tg_table_name,
               (n.j ->> 'id')::uuid, jsonb_build_object('before', null, 'after', n.j - omitted), session_request_id()
        from (select to_jsonb(r) as j from new_rows r) n;
    elsif tg_op = 'UPDATE' then
        insert into audit_logs (tenant_id, user_id, action, resource, resource_id, changes, request_id)
        select coalesce(n.j ->> 'tenant_id', n.j ->> 'id')::uuid, session_user_id(), 'UPDATE', tg_table_name,
               n.id, jsonb_build_object('before', o.j - omitted, 'after', n.j - omitted), session_request_id()
        from (select r.id, to_jsonb(r) as j from new_rows r) n
        join (select r.id, to_jsonb(r) as j from old_rows r) o on o.id = n.id;
    else
        insert into audit_logs (tenant_id, user_id, action, resource, resource_id, changes, request_id)
        select coalesce(o.j ->> 'tenant_id', o.j ->> 'id')::uuid, session_user_id(), 'DELETE', tg_table_name,
               (o.j ->> 'id')::uuid, jsonb_build_object('before', o.j - omitted, 'after', null), session_request_id()
        from (select to_jsonb(r) as j from old_rows r) o;
    end if;
    return null;
end
$$;
-- A function's new owner must be able to create in its schema, if only for this moment.
grant create on schema public to mercato_audit;
alter function write_audit() owner to mercato_audit;
revoke create on schema public from mercato_audit;
set local role mercato_audit;
revoke execute on function write_audit() from public;
-- To put it on tables, which is all that the owner can do with it.
grant execute on function write_audit() to mercato_owner;
reset role;

-- Puts the audit triggers on a table: `select audit_table('users', '{password_hash,mfa_secret}')`.
create function audit_table(audited regclass, omitted text[] default '{}') returns void
language plpgsql
as $$
begin
    execute format('create trigger audit_insert after insert on %s referencing new table as new_rows
        for each statement execute function write_audit(%L)', audited, omitted);
    execute format('create trigger audit_update after update on %s referencing old table as old_rows new table as new_rows
        for each statement execute function write_audit(%L)', audited, omitted);
    execute format('create trigger audit_delete after delete on %s referencing old table as old_rows
        for each statement execute function write_audit(%L)', audited, omitted);
end
$$;
revoke execute on function audit_table(regclass, text[]) from public;

-- Walls a table off by tenant: RLS enabled and forced, one policy that reads the tenant once a statement.
-- An unset tenant sees and writes nothing.
create function isolate_table(isolated regclass, tenant_column name default 'tenant_id') returns void
language plpgsql
as $$
declare
    rule constant text := format(
        '%I = (select nullif(current_setting(''app.current_tenant_id'', true), '''')::uuid)', tenant_column);
begin
    execute format('alter table %s enable row level security', isolated);
    execute format('alter table %s force row level security', isolated);
    execute format('create policy tenant_isolation on %s using (%s) with check (%s)', isolated, rule, rule);
end
$$;
revoke execute on function isolate_table(regclass, name) from public;
