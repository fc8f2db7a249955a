-- Money in and out: what was captured and given back, refunds, and the orders whose money needs work at Stripe.

-- No role could write payments before, so there are none.
alter table payments
    add column currency        text           not null check (currency ~ '^[A-Z]{3}$'),
    -- Counts the intents of this payment: a cancelled one is replaced as long as the order can be paid.
    add column attempt         integer        not null default 1 check (attempt > 0),
    add column captured_amount numeric(10, 2) not null default 0 check (captured_amount >= 0),
    add column refunded_amount numeric(10, 2) not null default 0 check (refunded_amount >= 0),
    -- Why captured money does not pay the order.
    add column problem         text
        check (problem in ('ORDER_CANCELLED', 'AMOUNT_MISMATCH', 'CURRENCY_MISMATCH')),
    -- When Stripe took the money, and when it cancelled the intent: at most one of them.
    add column captured_at     timestamptz,
    add column cancelled_at    timestamptz,
    add constraint payments_refunds_within_capture check (refunded_amount <= captured_amount),
    add constraint payments_captured_or_cancelled check (captured_at is null or cancelled_at is null),
    add constraint payments_money_is_captured
        check (status not in ('PAID', 'REFUNDED') or captured_at is not null);
-- A webhook names an intent, and no tenant.
create index payments_intent on payments (stripe_payment_intent);
create index payments_id on payments (id);
create policy across_tenants on payments for select to mercato_system using (true);
grant select (tenant_id, id, order_id, stripe_payment_intent) on payments to mercato_system;
grant insert, update (stripe_payment_intent, status, attempt, captured_amount, refunded_amount, problem, captured_at,
    cancelled_at) on payments to mercato_app;

create table refunds (
    id                    uuid        not null,
    tenant_id             uuid        not null references tenants (id),
    payment_id            uuid        not null,
    order_id              uuid        not null,
    -- What is refunded: the payment's intent, or a stray one that paid the same order again.
    stripe_payment_intent text        not null,
    stripe_refund         text,
    -- Null for all that is left, until Stripe tells how much that is.
    amount                numeric(10, 2) check (amount > 0),
    reason                text        not null
        check (reason in ('REQUESTED', 'ORDER_CANCELLED', 'AMOUNT_MISMATCH', 'CURRENCY_MISMATCH', 'DUPLICATE')),
    note                  text        check (char_length(note) <= 500),
    status                text        not null default 'PENDING' check (status in ('PENDING', 'SUCCEEDED', 'FAILED')),
    -- Stripe's code for why it failed.
    failure               text,
    user_id               uuid        default session_user_id(),
    created_at            timestamptz not null default now(),
    updated_at            timestamptz not null default now(),
    primary key (tenant_id, id),
    constraint refunds_tenant_stripe_refund_key unique (tenant_id, stripe_refund),
    foreign key (tenant_id, payment_id) references payments (tenant_id, id),
    foreign key (tenant_id, order_id) references orders (tenant_id, id)
);
create index refunds_tenant_payment on refunds (tenant_id, payment_id, created_at, id);
create index refunds_tenant_order on refunds (tenant_id, order_id);
select isolate_table('refunds');
grant select, insert, update (stripe_refund, amount, status, failure) on refunds to mercato_app;
create trigger set_updated_at before update on refunds for each row execute function set_updated_at();
select audit_table('refunds', '{note}');

-- Orders whose money needs work at Stripe: an intent to cancel, a refund to make, an unpaid order to let go. A row is
-- written in the transaction of its cause and deleted when nothing is left to do, so that no crash can lose the work.
create table payment_tasks (
    tenant_id  uuid        not null references tenants (id),
    order_id   uuid        not null,
    -- Not before this. Whoever takes the task moves it on, which keeps others away and brings it back after a crash.
    due_at     timestamptz not null default now(),
    attempts   integer     not null default 0,
    created_at timestamptz not null default now(),
    primary key (tenant_id, order_id),
    foreign key (tenant_id, order_id) references orders (tenant_id, id)
);
create index payment_tasks_due on payment_tasks (due_at);
select isolate_table('payment_tasks');
create policy across_tenants on payment_tasks to mercato_system using (true) with check (true);
grant select, insert, update (due_at, attempts) on payment_tasks to mercato_app;
grant select, insert, update (due_at, attempts), delete on payment_tasks to mercato_system;

-- What the search for unpaid orders reads.
create index orders_unpaid on orders (created_at) where status = 'PENDING' and total_amount > 0;
create policy across_tenants on orders for select to mercato_system using (true);
grant select (tenant_id, id, status, total_amount, created_at) on orders to mercato_system;

grant insert on processed_events to mercato_app;
create index processed_events_received on processed_events (received_at);
create policy across_tenants on processed_events to mercato_system using (true) with check (true);
grant select (received_at), delete on processed_events to mercato_system;
