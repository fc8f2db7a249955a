-- Products, their stock, and the ledger of every change in it.

-- A text as the words that search compares: in lower case, divided by whatever is neither letter nor digit. Both sides
-- must divide alike: PostgreSQL's own parser takes `SKU-123` for "sku" and the number -123. The collation makes letters
-- of letters of any alphabet, whatever the database's locale.
create function search_words(content text) returns text
language sql immutable parallel safe
as $$ select regexp_replace(lower(content collate "und-x-icu"), '[^[:alnum:]]+', ' ', 'g') $$;

create table products (
    id          uuid           not null,
    tenant_id   uuid           not null references tenants (id),
    -- Sorted as people expect (apple, Banana, cherry), not by byte.
    name        text           not null collate "und-x-icu" check (char_length(name) between 1 and 200),
    description text           not null default '' check (char_length(description) <= 10000),
    price       numeric(10, 2) not null check (price >= 0),
    -- `numeric` comparisons are not leakproof, so under RLS only a bigint can be searched by index.
    price_cents bigint         not null generated always as ((price * 100)::bigint) stored,
    sku         text           not null check (char_length(sku) between 1 and 64),
    category    text           check (char_length(category) between 1 and 100),
    image_urls  text[]         not null default '{}',
    is_active   boolean        not null default true,
    search      tsvector       not null generated always as (
        setweight(to_tsvector('simple', search_words(name)), 'A') ||
        setweight(to_tsvector('simple', search_words(sku)), 'A') ||
        setweight(to_tsvector('simple', search_words(coalesce(category, ''))), 'B') ||
        setweight(to_tsvector('simple', search_words(description)), 'C')) stored,
    created_at  timestamptz    not null default now(),
    updated_at  timestamptz    not null default now(),
    primary key (tenant_id, id),
    constraint products_tenant_sku_key unique (tenant_id, sku)
);
create index products_tenant_category on products (tenant_id, category, created_at, id);
create index products_tenant_is_active on products (tenant_id, is_active, created_at, id);
create index products_tenant_created_at on products (tenant_id, created_at, id);
create index products_tenant_price on products (tenant_id, price_cents, id);
create index products_tenant_name on products (tenant_id, name, id);
create index products_tenant_search on products using gin (tenant_id, search);
select isolate_table('products');
create policy search_reader on products for select to mercato_search using (true);
grant select, insert, update (name, description, price, sku, category, image_urls, is_active) on products to mercato_app;
grant select (id, tenant_id, search) on products to mercato_search;
create trigger set_updated_at before update on products for each row execute function set_updated_at();
select audit_table('products', '{price_cents,search}');

-- The current tenant's products that contain every word of the query, each word also as a prefix, best first.
-- `@@` is not leakproof, so a query under RLS could not use the index; this runs as a role with its own policy
-- and therefore filters by the session's tenant itself. Rank is in millionths.
create function search_products(query text) returns table (product_id uuid, rank bigint)
language sql stable security definer
set search_path = pg_catalog, public, pg_temp
as $$
    with words as (
        select to_tsquery('simple', string_agg(quote_literal(word) || ':*', ' & ')) as wanted
        from regexp_split_to_table(search_words(query), ' ') as word
        where word <> ''
    )
    select p.id, (ts_rank(p.search, w.wanted) * 1000000)::bigint
    from words w
    join products p on p.search @@ w.wanted
    where p.tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid)
$$;
grant create on schema public to mercato_search;
alter function search_products(text) owner to mercato_search;
revoke create on schema public from mercato_search;
set local role mercato_search;
revoke execute on function search_products(text) from public;
grant execute on function search_products(text) to mercato_app;
reset role;

create table inventory (
    id         uuid        not null,
    tenant_id  uuid        not null references tenants (id),
    product_id uuid        not null,
    quantity   integer     not null constraint inventory_quantity_not_negative check (quantity >= 0),
    threshold  integer     not null default 10 check (threshold >= 0),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    constraint inventory_tenant_product_key unique (tenant_id, product_id),
    foreign key (tenant_id, product_id) references products (tenant_id, id)
);
select isolate_table('inventory');
grant select, insert, update (quantity, threshold) on inventory to mercato_app;
create trigger set_updated_at before update on inventory for each row execute function set_updated_at();
select audit_table('inventory');

-- Append-only: the sum of a product's deltas is its quantity. It names actor and request itself, and so needs no audit.
create table inventory_movements (
    id         uuid        not null default uuid_v7(),
    tenant_id  uuid        not null references tenants (id),
    product_id uuid        not null,
    delta      integer     not null check (delta <> 0),
    kind       text        not null check (kind in ('INITIAL', 'ADJUSTMENT', 'ORDER', 'CANCELLATION')),
    reason     text        check (char_length(reason) between 1 and 500),
    order_id   uuid,
    user_id    uuid        default session_user_id(),
    request_id text        default session_request_id(),
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    check ((order_id is not null) = (kind in ('ORDER', 'CANCELLATION'))),
    foreign key (tenant_id, product_id) references inventory (tenant_id, product_id)
);
create index inventory_movements_tenant_product on inventory_movements (tenant_id, product_id, created_at, id);
select isolate_table('inventory_movements');
grant select, insert (tenant_id, product_id, delta, kind, reason, order_id) on inventory_movements to mercato_app;
