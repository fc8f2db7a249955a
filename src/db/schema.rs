// Generated from the migrated database: `make generated` writes it, a test fails when it is stale.

diesel::table! {
    audit_logs (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        user_id -> Nullable<Uuid>,
        action -> Text,
        resource -> Text,
        resource_id -> Uuid,
        changes -> Jsonb,
        request_id -> Nullable<Text>,
        timestamp -> Timestamptz,
    }
}

diesel::table! {
    idempotency_keys (tenant_id, actor_id, operation, key) {
        tenant_id -> Uuid,
        actor_id -> Uuid,
        operation -> Text,
        key -> Text,
        fingerprint -> Text,
        response -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    inventory (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        product_id -> Uuid,
        quantity -> Integer,
        threshold -> Integer,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    inventory_movements (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        product_id -> Uuid,
        delta -> Integer,
        kind -> Text,
        reason -> Nullable<Text>,
        order_id -> Nullable<Uuid>,
        user_id -> Nullable<Uuid>,
        request_id -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    order_items (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        order_id -> Uuid,
        product_id -> Uuid,
        quantity -> Integer,
        price_at_time -> Numeric,
    }
}

diesel::table! {
    order_status_history (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        order_id -> Uuid,
        from_status -> Nullable<Text>,
        to_status -> Text,
        user_id -> Nullable<Uuid>,
        request_id -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    orders (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        customer_id -> Uuid,
        status -> Text,
        total_amount -> Numeric,
        customer_name -> Text,
        customer_email -> Text,
        shipping_address -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    payment_tasks (tenant_id, order_id) {
        tenant_id -> Uuid,
        order_id -> Uuid,
        due_at -> Timestamptz,
        attempts -> Integer,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    payments (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        order_id -> Uuid,
        stripe_payment_intent -> Nullable<Text>,
        amount -> Numeric,
        status -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        currency -> Text,
        attempt -> Integer,
        captured_amount -> Numeric,
        refunded_amount -> Numeric,
        problem -> Nullable<Text>,
        captured_at -> Nullable<Timestamptz>,
        cancelled_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    processed_events (tenant_id, event_id) {
        tenant_id -> Uuid,
        event_id -> Text,
        event_type -> Text,
        received_at -> Timestamptz,
    }
}

diesel::table! {
    products (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        name -> Text,
        description -> Text,
        price -> Numeric,
        price_cents -> BigInt,
        sku -> Text,
        category -> Nullable<Text>,
        image_urls -> Array<Text>,
        is_active -> Bool,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    refunds (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        payment_id -> Uuid,
        order_id -> Uuid,
        stripe_payment_intent -> Text,
        stripe_refund -> Nullable<Text>,
        amount -> Nullable<Numeric>,
        reason -> Text,
        note -> Nullable<Text>,
        status -> Text,
        failure -> Nullable<Text>,
        user_id -> Nullable<Uuid>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    service_account_uses (tenant_id, service_account_id) {
        tenant_id -> Uuid,
        service_account_id -> Uuid,
        last_used_at -> Timestamptz,
    }
}

diesel::table! {
    service_accounts (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        name -> Text,
        key_hash -> Text,
        scopes -> Array<Text>,
        expires_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    tenants (id) {
        id -> Uuid,
        name -> Text,
        subdomain -> Text,
        api_key -> Text,
        currency -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        previous_api_key -> Nullable<Text>,
        previous_key_until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    users (tenant_id, id) {
        id -> Uuid,
        tenant_id -> Uuid,
        email -> Text,
        password_hash -> Text,
        role -> Text,
        mfa_secret -> Nullable<Bytea>,
        mfa_enabled -> Bool,
        is_active -> Bool,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
        access_version -> Integer,
        mfa_last_step -> Nullable<BigInt>,
        mfa_recovery_codes -> Array<Text>,
    }
}
