-- The records of payments. No role may write them until the code that takes payments is there to do so.

create table payments (
    id                    uuid           not null,
    tenant_id             uuid           not null references tenants (id),
    order_id              uuid           not null,
    stripe_payment_intent text,
    amount                numeric(10, 2) not null check (amount >= 0),
    status                text           not null check (status in ('PENDING', 'PAID', 'FAILED', 'REFUNDED')),
    created_at            timestamptz    not null default now(),
    updated_at            timestamptz    not null default now(),
    primary key (tenant_id, id),
    constraint payments_tenant_order_key unique (tenant_id, order_id),
    constraint payments_tenant_intent_key unique (tenant_id, stripe_payment_intent),
    foreign key (tenant_id, order_id) references orders (tenant_id, id)
);
select isolate_table('payments');
grant select on payments to mercato_app;
create trigger set_updated_at before update on payments for each row execute function set_updated_at();
select audit_table('payments');

-- Stripe's event ids that have been applied: one can have an effect only once.
create table processed_events (
    tenant_id   uuid        not null references tenants (id),
    event_id    text        not null,
    event_type  text        not null,
    received_at timestamptz not null default now(),
    primary key (tenant_id, event_id)
);
select isolate_table('processed_events');
grant select on processed_events to mercato_app;
