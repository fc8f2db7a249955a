-- Orders, their lines with the price at the time, and the history of their states.

create table orders (
    id               uuid           not null,
    tenant_id        uuid           not null references tenants (id),
    customer_id      uuid           not null,
    status           text           not null
        check (status in ('PENDING', 'PAID', 'FULFILLED', 'SHIPPED', 'COMPLETED', 'CANCELLED')),
    total_amount     numeric(10, 2) not null check (total_amount >= 0),
    customer_name    text           not null,
    customer_email   text           not null,
    shipping_address jsonb          not null,
    created_at       timestamptz    not null default now(),
    updated_at       timestamptz    not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, customer_id) references users (tenant_id, id)
);
create index orders_tenant_status on orders (tenant_id, status, created_at, id);
create index orders_tenant_customer on orders (tenant_id, customer_id, created_at, id);
create index orders_tenant_created_at on orders (tenant_id, created_at, id);
select isolate_table('orders');
grant select, insert, update (status) on orders to mercato_app;
create trigger set_updated_at before update on orders for each row execute function set_updated_at();
select audit_table('orders', '{customer_name,customer_email,shipping_address}');

-- Written once with its order and never changed, so that the order's audit row stands for it.
create table order_items (
    id            uuid           not null,
    tenant_id     uuid           not null references tenants (id),
    order_id      uuid           not null,
    product_id    uuid           not null,
    quantity      integer        not null check (quantity > 0),
    price_at_time numeric(10, 2) not null check (price_at_time >= 0),
    primary key (tenant_id, id),
    constraint order_items_tenant_order_product_key unique (tenant_id, order_id, product_id),
    foreign key (tenant_id, order_id) references orders (tenant_id, id),
    foreign key (tenant_id, product_id) references products (tenant_id, id)
);
create index order_items_tenant_product on order_items (tenant_id, product_id);
select isolate_table('order_items');
grant select, insert on order_items to mercato_app;

alter table inventory_movements
    add foreign key (tenant_id, order_id) references orders (tenant_id, id);
create index inventory_movements_tenant_order on inventory_movements (tenant_id, order_id);

-- Append-only, and written by a trigger, so that an order's last row here is its status whoever changes it.
create table order_status_history (
    id          uuid        not null default uuid_v7(),
    tenant_id   uuid        not null references tenants (id),
    order_id    uuid        not null,
    from_status text,
    to_status   text        not null,
    user_id     uuid        default session_user_id(),
    request_id  text        default session_request_id(),
    created_at  timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    foreign key (tenant_id, order_id) references orders (tenant_id, id)
);
create index order_status_history_tenant_order on order_status_history (tenant_id, order_id, created_at, id);
select isolate_table('order_status_history');
grant select, insert (tenant_id, order_id, from_status, to_status) on order_status_history to mercato_app;

create function record_order_status() returns trigger
language plpgsql
as $$
begin
    if tg_op = 'INSERT' then
        insert into order_status_history (tenant_id, order_id, to_status) values (new.tenant_id, new.id, new.status);
    elsif new.status <> old.status then
        insert into order_status_history (tenant_id, order_id, from_status, to_status)
        values (new.tenant_id, new.id, old.status, new.status);
    end if;
    return null;
end
$$;
create trigger record_status after insert or update of status on orders
    for each row execute function record_order_status();
