-- Tenants (shops) and their users.

create table tenants (
    id         uuid        primary key,
    name       text        not null check (char_length(name) between 1 and 200),
    subdomain  text        not null check (subdomain ~ '^[a-z0-9]([a-z0-9-]{1,61}[a-z0-9])$'),
    api_key    text        not null,
    currency   text        not null default 'USD' check (currency ~ '^[A-Z]{3}$'),
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint tenants_subdomain_key unique (subdomain),
    constraint tenants_api_key_key unique (api_key)
);
select isolate_table('tenants', 'id');
-- Registering a shop and finding one by subdomain or key happen before any tenant is known.
create policy across_tenants on tenants to mercato_system using (true) with check (true);
grant select, update (name) on tenants to mercato_app;
grant select, insert on tenants to mercato_system;
create trigger set_updated_at before update on tenants for each row execute function set_updated_at();
select audit_table('tenants', '{api_key}');

create table users (
    id            uuid        not null,
    tenant_id     uuid        not null references tenants (id),
    -- Stored in lower case: `lower(email)` is not leakproof, so an index on it would go unused under RLS.
    email         text        not null check (email = lower(email) and char_length(email) <= 254),
    password_hash text        not null,
    role          text        not null check (role in ('ADMIN', 'MERCHANT', 'CUSTOMER')),
    mfa_secret    bytea,
    mfa_enabled   boolean     not null default false,
    is_active     boolean     not null default true,
    created_at    timestamptz not null default now(),
    updated_at    timestamptz not null default now(),
    primary key (tenant_id, id),
    constraint users_tenant_email_key unique (tenant_id, email)
);
create index users_tenant_created_at on users (tenant_id, created_at, id);
select isolate_table('users');
-- The first admin is written together with the tenant.
create policy across_tenants on users for insert to mercato_system with check (true);
grant select, insert, update (password_hash, role, is_active) on users to mercato_app;
grant insert on users to mercato_system;
create trigger set_updated_at before update on users for each row execute function set_updated_at();
select audit_table('users', '{password_hash,mfa_secret,email}');
