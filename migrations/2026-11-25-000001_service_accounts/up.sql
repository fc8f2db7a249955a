-- Machines that act for a shop: each with a key of its own, of which only the hash is kept.

create table service_accounts (
    id         uuid        not null,
    tenant_id  uuid        not null references tenants (id),
    name       text        not null check (length(name) between 1 and 200),
    -- SHA-256 of the key's 256 random bits.
    key_hash   text        not null,
    scopes     text[]      not null check (
        cardinality(scopes) > 0
        and scopes <@ array['PRODUCTS_READ', 'PRODUCTS_WRITE', 'INVENTORY_READ', 'INVENTORY_WRITE', 'ORDERS_READ',
                            'ORDERS_WRITE', 'PAYMENTS_WRITE']),
    expires_at timestamptz not null,
    revoked_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id)
);
create index service_accounts_tenant_created on service_accounts (tenant_id, created_at, id);
select isolate_table('service_accounts');
select audit_table('service_accounts', '{key_hash}');
create trigger set_updated_at before update on service_accounts for each row execute function set_updated_at();
grant select, insert, update (revoked_at) on service_accounts to mercato_app;

-- Apart, because a use is no change that anybody wants in the audit log.
create table service_account_uses (
    tenant_id          uuid        not null,
    service_account_id uuid        not null,
    last_used_at       timestamptz not null default now(),
    primary key (tenant_id, service_account_id),
    foreign key (tenant_id, service_account_id) references service_accounts (tenant_id, id)
);
select isolate_table('service_account_uses');
grant select, insert, update (last_used_at) on service_account_uses to mercato_app;
