//! The words, as nginx, HAProxy, Caddy, Traefik, Envoy and Kamal have them, and others that people guess.

use super::super::super::keys::{ADMIN, CONFIG, LISTEN, LOG, ROUTE, TLS};
use super::super::super::limits;
use super::{Answer, Lack};

use Answer::{Key, Not, Own, Say};

/// Words in lower case with `_`, divided by spaces, and their answer. Of several that fit, the first is taken.
pub(super) static WORDS: &[(&str, Answer)] = &[
    // Inside of `verify` and `health`.
    ("interval inter period frequency", Own("every")),
    ("timeout timeouts check_timeout", Own("within")),
    ("status statuses expect_status expected_status response_code code", Own("expect")),
    ("uri endpoint request", Own("get")),
    ("fall max_fails unhealthy_threshold failure_threshold retries", Own("fails")),
    ("rise healthy_threshold success_threshold passes", Own("times")),
    // Inside of a notification, a listener.
    ("events event", Own("on")),
    ("cert_file certificate certificate_file cert_path fullchain chain", Own("cert")),
    ("private_key key_file key_path keyfile", Own("key")),
    // Routes.
    (
        "backend backends target targets origin origins server servers proxy_pass url urls proxy reverse_proxy forward \
         forward_to to service services load_balancer dial destination use_backend default_backend upstreams proxies \
         cluster clusters",
        Key(&ROUTE, "upstream"),
    ),
    (
        "app_port target_port upstream_port container_port scheme",
        Say("the address has it: `upstream = \"http://127.0.0.1:3000\"` in the route"),
    ),
    ("domain domains server_name server_names vhost hostname hostnames hosts virtual_host", Key(&ROUTE, "host")),
    (
        "rule rules match matches acl acls matcher matchers when",
        Say("a route is chosen by its keys: `host = \"www.example.com\"` and `path = \"/app\"`"),
    ),
    (
        "location locations prefix path_prefix path_prefixes paths uri_prefix handle context_path url_prefix",
        Key(&ROUTE, "path"),
    ),
    ("route router routers sites site", Say("a route is written under a `[routes.NAME]` line")),
    (
        "stripprefix strip_prefixes strip_path strip_path_prefix trim_prefix handle_path remove_prefix prefix_strip",
        Key(&ROUTE, "strip_prefix"),
    ),
    (
        "proxy_redirect proxy_cookie_path redirects_rewrite rewrite_location rewrite_redirects",
        Key(&ROUTE, "rewrite_answers"),
    ),
    (
        "preserve_host pass_host_header proxy_preserve_host host_header pass_host preserve_host_header",
        Key(&ROUTE, "keep_host"),
    ),
    ("h2c grpc grpc_pass http_version proxy_http_version protocol proto versions alpn", Key(&ROUTE, "http2")),
    (
        "ca_file trusted_ca root_ca root_cas cacert ca_cert ca_certs proxy_ssl_trusted_certificate \
         tls_trusted_ca_certs tls_ca",
        Key(&ROUTE, "ca"),
    ),
    (
        "tls_skip_verify insecure insecure_skip_verify skip_verify skip_tls_verify tls_insecure \
         tls_insecure_skip_verify proxy_ssl_verify ssl_verify verify_ssl verify_tls tls_verify",
        Say("an upstream's certificate is always checked: name the root of your own, `ca = \"tls/ca.pem\"`"),
    ),
    (
        "websocket websockets ws upgrade enable_websocket",
        Say("WebSockets pass without a key; `streams` says how they end when the route closes"),
    ),
    (
        "health_check healthcheck health_checks healthchecks health_uri check checks option_httpchk httpchk \
         health_path active_health liveness",
        Key(&ROUTE, "health"),
    ),
    ("readiness smoke_test probe probes", Key(&ROUTE, "verify")),
    (
        "error_page error_pages errorfile errorfiles handle_errors custom_errors custom_error_pages \
         proxy_intercept_errors",
        Key(&ROUTE, "errors"),
    ),
    (
        "maintenance_mode maintenance_page pause paused offline",
        Say("`maintenance` names the flag file: a route is closed there, and the page is built in"),
    ),
    (
        "maintenance_file touch_file lock_file switch_file switch_files toggle toggle_file maintenance_switch trigger_file",
        Key(&ROUTE, "switch"),
    ),
    ("exclude except exclude_paths skip_paths bypass_paths excluded_paths", Key(&ROUTE, "always_open")),
    ("bypass_header bypass_ips bypass_token bypass_cookie allowed_ips", Key(&ROUTE, "bypass")),
    ("gradual canary_percent", Key(&ROUTE, "ramp")),
    (
        "dns_refresh_rate dns_lookup_family dns_cache dns_cache_ttl resolver_valid hold_valid dns_refresh refresh_dns \
         respect_dns_ttl",
        Key(&limits::TABLE, "dns_ttl"),
    ),
    ("slowstart slow_start_window slow_start_config warmup warm_up", Key(&ROUTE, "slow_start")),
    (
        "drain_timeout graceful_timeout grace_period shutdown_timeout stop_wait_time stop_timeout \
         graceful_shutdown_timeout hard_stop_after grace_time_out",
        Key(&CONFIG, "drain"),
    ),
    (
        "balance lb_policy load_balancing lb algorithm strategy least_conn round_robin random hash lb_method policy",
        Say("the less busy one of two upstreams taken at random gets a request; an upstream may have a `weight`, and \
             `sticky` keeps clients to one"),
    ),
    (
        "sticky_session sticky_sessions session_affinity affinity stickiness ip_hash persistence \
         sticky_cookie sticky_cookies session_cookie affinity_cookie cookie_affinity session_persistence lb_cookie \
         appsession cookie cookies",
        Key(&ROUTE, "sticky"),
    ),
    (
        "retries retry lb_retries proxy_next_upstream retry_on redispatch lb_try_duration tries max_retries",
        Say("a connection that fails is tried on another upstream, and a request is sent twice only if that is safe: \
             there is no key"),
    ),
    (
        "circuit_breaker outlier_detection passive_health fail_timeout",
        Say("three failures in a row eject an upstream for a while, without a key; `health` asks by itself"),
    ),
    (
        "header_up proxy_set_header request_headers custom_request_headers reqadd reqrep request_header \
         set_header set_headers proxy_headers proxy_hide_request_header",
        Key(&ROUTE, "request"),
    ),
    (
        "add_header header header_down response_headers custom_response_headers rspadd response_header hsts sts_seconds \
         strict_transport_security security_headers proxy_hide_header more_set_headers csp server_tokens",
        Key(&ROUTE, "response"),
    ),
    (
        "accept_proxy send_proxy send_proxy_v2 proxyprotocol use_proxy_protocol enable_proxy_protocol expect_proxy",
        Own("proxy_protocol"),
    ),
    // Listeners.
    (
        "bind entry_points entrypoints entry_point entrypoint frontend frontends listener listeners port ports \
         http_port https_port http_host listen_address listen_addr addr bind_address addresses",
        Say("a listener is `[[listen]]`, and below it `address = \"0.0.0.0:8080\"`"),
    ),
    (
        "ssl https tls_config secure ssl_certificate ssl_certificate_key certificates certs crt tls_cert tls_key \
         ssl_cert ssl_key tls_certificate ssl_certificate_path certificate_path",
        Key(&LISTEN, "tls"),
    ),
    (
        "ssl_ciphers ciphers cipher_suites ssl_prefer_server_ciphers curves \
         ssl_dhparam ssl_session_cache ssl_session_timeout ssl_ecdh_curve ssl_default_bind_ciphers",
        Not(Lack::Ciphers),
    ),
    ("ssl_protocols tls_versions protocols ssl_min_ver min_tls_version tls_min_version", Key(&TLS, "min_version")),
    (
        "ssl_client_certificate ssl_verify_client ca_file_clients client_ca_file client_cas trusted_client_cas",
        Key(&TLS, "client_ca"),
    ),
    (
        "acme email cert_resolver certificates_resolvers certificatesresolvers letsencrypt lets_encrypt auto_https \
         autocert on_demand_tls acme_email auto_ssl autossl automatic_https",
        Not(Lack::Acme),
    ),
    ("http3 h3 quic alt_svc", Not(Lack::Http3)),
    (
        "https_redirect ssl_redirect force_ssl force_https https_only redirect_scheme redirect_https redirect_to_https \
         http_to_https enforce_https redirect_http_to_https",
        Say("the listener of plain HTTP does that: `redirect = \"https\"` under its `[[listen]]` line"),
    ),
    ("redir redirects redirect_to redirect_regex redirection redirect_url redirect_permanent", Key(&ROUTE, "redirect")),
    // Top level.
    ("worker_processes threads nbthread nbproc processes gomaxprocs worker worker_count", Key(&CONFIG, "workers")),
    (
        "set_real_ip_from real_ip_header real_ip trusted_ips trust_proxy trust_proxies forward_headers \
         forwarded_headers trust_forwarded forwardfor real_ip_recursive trusted_proxy proxies_trusted",
        Key(&CONFIG, "trusted_proxies"),
    ),
    ("access_log accesslog http_log log_requests", Key(&LOG, "access")),
    ("log_file access_log_file access_log_path", Key(&LOG, "access_file")),
    ("error_log log_level loglevel verbosity debug verbose", Key(&LOG, "level")),
    ("flag_file flags flagfile maintenance_flag_file", Key(&CONFIG, "maintenance")),
    (
        "dashboard api stats stats_uri metrics prometheus stub_status pprof admin_address admin_port management",
        Key(&ADMIN, "address"),
    ),
    (
        "replicas replica_count scale instances",
        Say("several upstreams are a list: `upstream = [\"http://a:1\", \"http://b:1\"]`"),
    ),
    // Limits.
    (
        "client_max_body_size max_body_size max_request_body max_request_body_size max_request_body_bytes body_limit \
         request_body max_size request_max_size request_body_max upload_limit",
        Key(&limits::TABLE, "body_size"),
    ),
    (
        "large_client_header_buffers client_header_buffer_size max_header_bytes max_header_size max_header_list_size \
         proxy_buffer_size tune_bufsize",
        Key(&limits::TABLE, "head_size"),
    ),
    ("client_header_timeout timeout_http_request read_header_timeout read_header", Key(&limits::TABLE, "head_read")),
    ("client_body_timeout request_timeout read_body body_timeout", Key(&limits::TABLE, "body_read")),
    (
        "proxy_read_timeout response_timeout timeout_server response_header_timeout upstream_timeout read_timeout \
         proxy_timeout server_timeout backend_timeout route_timeout gateway_timeout",
        Key(&limits::TABLE, "first_byte"),
    ),
    (
        "proxy_connect_timeout connect_timeout timeout_connect dial_timeout connection_timeout timeout_queue",
        Key(&limits::TABLE, "connect"),
    ),
    ("proxy_send_timeout send_timeout write_timeout timeout_client", Key(&limits::TABLE, "write")),
    (
        "keepalive_timeout keep_alive_timeout idle_timeout timeout_http_keep_alive keepalive_requests idle",
        Key(&limits::TABLE, "keep_alive"),
    ),
    ("timeout_tunnel websocket_timeout stream_timeout tunnel_timeout", Key(&limits::TABLE, "tunnel_idle")),
    ("keepalive idle_conn_timeout keepalive_idle_conns", Key(&limits::TABLE, "upstream_keep_alive")),
    ("worker_connections maxconn max_connections max_conn", Key(&limits::TABLE, "connections")),
    (
        "max_conns max_idle_conns max_idle_conns_per_host maxqueue pool_size",
        Key(&limits::TABLE, "upstream_connections"),
    ),
    (
        "timeout timeouts deadline",
        Say(
            "each step has its own time below `[limits]`, or in `limits` of a route: `connect`, `first_byte`, `upstream_read`, `body_read`, `write`",
        ),
    ),
    ("max_streams http2_max_concurrent_streams max_concurrent_streams", Key(&limits::TABLE, "h2_streams")),
    // What backsoon does not do.
    (
        "gzip compress compression encode brotli zstd deflate gzip_types gzip_static gunzip compressor minify",
        Not(Lack::Compression),
    ),
    (
        "root static static_files file_server files file try_files index alias document_root docroot public \
         public_dir browse autoindex assets static_dir",
        Not(Lack::StaticFiles),
    ),
    (
        "cache caching proxy_cache proxy_cache_path proxy_cache_valid http_cache stale stale_if_error expires etag \
         proxy_cache_use_stale",
        Not(Lack::Cache),
    ),
    (
        "rate_limit ratelimit rate_limits rate_limiter limit_req limit_req_zone limit_conn limit_conn_zone throttle \
         in_flight_req rate limit_rate stick_table",
        Not(Lack::RateLimits),
    ),
    (
        "basic_auth basicauth auth_basic auth_basic_user_file auth authentication authorization forward_auth \
         forwardauth auth_request oidc oauth oauth2 jwt jwt_auth digest_auth users htpasswd userlist login sso",
        Not(Lack::LogIn),
    ),
    ("waf modsecurity modsecurity_rules sec_rules coraza crowdsec bot_protection captcha", Not(Lack::Waf)),
    (
        "allow deny allow_list allowlist ip_allow_list ip_allowlist ip_white_list whitelist ip_whitelist block \
         blacklist blocklist geoip remote_ip satisfy",
        Not(Lack::AccessRules),
    ),
    (
        "fastcgi_pass php_fastcgi fastcgi fastcgi_param uwsgi_pass scgi_pass php php_fpm wsgi cgi ajp fastcgi_index",
        Not(Lack::Languages),
    ),
    (
        "middlewares middleware plugins plugin modules filters http_filters chain_middleware use handlers annotations \
         labels",
        Not(Lack::Middlewares),
    ),
    (
        "lua lua_load content_by_lua js njs script scripts wasm configuration_snippet server_snippet snippet",
        Not(Lack::Scripts),
    ),
    (
        "rewrite rewrites rewrite_rule rewrite_target replace_path replace_path_regex path_regexp regex sub_filter \
         http_request url_rewrite",
        Not(Lack::Rewriting),
    ),
    ("respond abort direct_response answer response_body", Not(Lack::OwnAnswers)),
    (
        "return",
        Say("a route sends clients elsewhere by `redirect = \"https://www.example.com\"`; the app answers the rest"),
    ),
    (
        "headers custom_headers",
        Say(
            "fields change by `request = { set = { … } }` for the upstream, and `response = { set = { … } }` for clients",
        ),
    ),
    ("import imports includes include_files conf_d", Key(&CONFIG, "include")),
    ("environment env env_file vars variables", Say("strings take variables of the environment: `\"${NAME}\"`")),
    ("cors access_control access_control_allow_origin cross_origin", Not(Lack::Cors)),
    (
        "docker kubernetes consul etcd providers provider discovery swarm service_discovery resolver resolvers \
         dns_resolver nomad ecs",
        Not(Lack::Discovery),
    ),
    ("tcp udp stream mode_tcp ssl_passthrough passthrough smtp sni_proxy", Not(Lack::OtherProtocols)),
    ("mirror mirroring mirrors shadow canary split_clients ab_test experiments", Not(Lack::Mirroring)),
    ("tracing opentelemetry otel jaeger zipkin otlp opentracing datadog", Not(Lack::Tracing)),
    (
        "buffering proxy_buffering buffer proxy_request_buffering buffer_requests buffer_responses flush_interval \
         buffers proxy_buffers request_buffers response_buffers",
        Not(Lack::Buffering),
    ),
    ("cert_key pem pem_file tls_files", Key(&TLS, "cert")),
];
