//! What exists in the demo: the roles, accounts, keys and requests of a made-up company.

/// A time before now, in seconds.
#[derive(Clone, Copy)]
pub(super) struct Ago(pub(super) i64);

const fn days(number: i64) -> Ago {
    hours(24 * number)
}

const fn hours(number: i64) -> Ago {
    minutes(60 * number)
}

const fn minutes(number: i64) -> Ago {
    Ago(60 * number)
}

/// An admin who makes changes.
#[derive(Clone, Copy)]
pub(super) struct Admin {
    pub(super) id: &'static str,
    pub(super) email: &'static str,
}

const MARA: Admin =
    Admin { id: "a41c6f0e-58d2-4c37-9d5e-70b1f2c8e913", email: "mara.lind@brightwater.example" };
const TOMAS: Admin =
    Admin { id: "c7b02d95-1e8f-46ab-8f60-3d94a5e17b28", email: "tomas.okoye@brightwater.example" };
const YUKI: Admin =
    Admin { id: "e95a3c18-b740-4f1d-a2c6-8e07d61f94b3", email: "yuki.sato@brightwater.example" };

/// When a change is made, and by whom.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) ago: Ago,
    pub(super) by: Admin,
}

const fn by(admin: Admin, ago: Ago) -> Change {
    Change { ago, by: admin }
}

/// A custom role.
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    /// The permissions after each change.
    pub(super) versions: &'static [(Change, &'static [&'static str])],
}

/// A service account.
pub(super) struct Account {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) owner: &'static str,
    pub(super) tags: &'static [(&'static str, &'static str)],
    pub(super) role: &'static str,
    pub(super) created: Change,
    pub(super) keys: &'static [Key],
    pub(super) updates: &'static [(Change, Update)],
}

/// A later change of an account.
pub(super) enum Update {
    Owner(&'static str),
    Description(&'static str),
    Disable,
    Delete,
}

/// A key.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) issued: Change,
    pub(super) lifetime_days: u32,
    pub(super) role: Option<&'static str>,
    pub(super) networks: &'static [&'static str],
    pub(super) traffic: &'static [Traffic],
    pub(super) end: Option<End>,
}

/// How a key ends.
pub(super) enum End {
    Rotated {
        change: Change,
        grace_hours: u32,
        /// The requests with the successor.
        traffic: &'static [Traffic],
    },
    Revoked(Change),
}

/// Requests of one kind with a key.
pub(super) struct Traffic {
    pub(super) rhythm: Rhythm,
    /// The first and the last time of a request.
    pub(super) between: (Ago, Ago),
    /// The number of requests at a time.
    pub(super) requests: u64,
    pub(super) sources: &'static [&'static str],
    /// The route keys.
    pub(super) routes: &'static [&'static str],
}

/// When requests are made.
#[derive(Clone, Copy)]
pub(super) enum Rhythm {
    /// Once, at the first time.
    Once,
    /// Each day in this hour (UTC).
    Daily { hour: u64 },
    /// A number of times on each weekday, between 7:00 and 18:00 (UTC).
    OfficeHours { times: u64 },
    /// A number of times a day, at any hour.
    AroundTheClock { times: u64 },
}

const NOW: Ago = Ago(0);

/// Requests that are made once.
const fn once(
    ago: Ago,
    requests: u64,
    sources: &'static [&'static str],
    routes: &'static [&'static str],
) -> Traffic {
    Traffic { rhythm: Rhythm::Once, between: (ago, NOW), requests, sources, routes }
}

/// A key for requests from anywhere that ends after 90 days.
const KEY: Key = Key {
    name: "",
    issued: by(MARA, NOW),
    lifetime_days: 90,
    role: None,
    networks: &[],
    traffic: &[],
    end: None,
};

/// The account to look at first.
pub(crate) const FIRST_ACCOUNT: &str = "billing-mcp-agent";
/// The key of this account that the start-up text shows.
pub(super) const SHOWN_KEY: &str = "your terminal";
/// A path that the account's role can read.
pub(crate) const READABLE: &str = "/invoices/1042";
/// A path to which the account's role cannot send a POST request.
pub(crate) const NOT_WRITABLE: &str = "/refunds";

/// The name and title of the company's API, and when it was registered for agents.
pub(crate) const API: &str = "demo";
pub(super) const API_TITLE: &str = "Brightwater billing";
pub(super) const API_REGISTERED: Change = by(TOMAS, days(42));

/// The time between two sweeps of keys.
pub(super) const SWEEP_INTERVAL: Ago = days(1);
/// The last sweep. The sweep at the start of local mode publishes what is due since then.
pub(super) const LAST_SWEEP: Ago = hours(6);
/// When the company started to use Keyward.
pub(super) const FOUNDED: Ago = days(105);

pub(super) const ROLES: &[Role] = &[
    Role {
        name: "BillingAgent",
        description: "Reads invoices and sends reminders. Cannot change or refund anything.",
        versions: &[
            (by(TOMAS, days(42)), &["GET /invoices", "GET /invoices/{id}", "GET /organizations/{id}"]),
            (
                by(MARA, days(20)),
                &[
                    "GET /invoices",
                    "GET /invoices/{id}",
                    "GET /organizations/{id}",
                    "POST /invoices/{id}/reminders",
                    "GET /teams/7",
                ],
            ),
        ],
    },
    Role {
        name: "InvoiceReader",
        description: "Reads invoices.",
        versions: &[(by(YUKI, days(99)), &["GET /invoices", "GET /invoices/{id}"])],
    },
    Role {
        name: "ReportsExporter",
        description: "Exports finished reports to the data warehouse.",
        versions: &[(by(YUKI, days(98)), &["GET /reports", "GET /reports/{id}", "POST /reports/exports"])],
    },
    Role {
        name: "DeployBot",
        description: "Records deployments of a team.",
        versions: &[(by(TOMAS, days(88)), &["GET /teams/{id}", "GET,POST /teams/{id}/deployments"])],
    },
    Role {
        name: "StatusReader",
        description: "Checks that the API responds.",
        versions: &[(by(TOMAS, days(104)), &["GET,HEAD /organizations"])],
    },
];

pub(super) const ACCOUNTS: &[Account] = &[
    Account {
        name: FIRST_ACCOUNT,
        description: "AI agent that answers customers' questions about invoices, through MCP",
        owner: "billing@brightwater.example",
        tags: &[("team", "billing"), ("kind", "agent")],
        role: "BillingAgent",
        created: by(TOMAS, days(41)),
        keys: &[
            Key {
                name: "production",
                issued: by(TOMAS, days(41)),
                networks: &["203.0.113.0/24"],
                traffic: &[
                    Traffic {
                        rhythm: Rhythm::OfficeHours { times: 1 },
                        between: (days(40), hours(1)),
                        requests: 5,
                        sources: &["203.0.113.14", "203.0.113.15"],
                        routes: &["GET /invoices/{id}", "GET /invoices", "GET /organizations/{id}"],
                    },
                    Traffic {
                        rhythm: Rhythm::OfficeHours { times: 1 },
                        between: (days(19), hours(1)),
                        requests: 1,
                        sources: &["203.0.113.14"],
                        routes: &["POST /invoices/{id}/reminders"],
                    },
                    Traffic {
                        rhythm: Rhythm::AroundTheClock { times: 1 },
                        between: (days(8), hours(1)),
                        requests: 1,
                        sources: &["203.0.113.15"],
                        routes: &["POST /refunds", "PATCH /invoices/{id}"],
                    },
                    once(minutes(47), 2, &["198.51.100.77"], &["GET /invoices"]),
                    once(
                        minutes(9),
                        3,
                        &["203.0.113.14"],
                        &["GET /invoices/{id}", "GET /organizations/{id}"],
                    ),
                    once(minutes(8), 1, &["203.0.113.14"], &["POST /refunds"]),
                    once(minutes(2), 2, &["203.0.113.15"], &["GET /invoices/{id}"]),
                ],
                ..KEY
            },
            Key {
                name: "evaluation runs",
                issued: by(YUKI, days(24)),
                lifetime_days: 30,
                role: Some("InvoiceReader"),
                traffic: &[
                    Traffic {
                        rhythm: Rhythm::OfficeHours { times: 1 },
                        between: (days(23), NOW),
                        requests: 2,
                        sources: &["2001:db8:4::21"],
                        routes: &["GET /invoices/{id}", "GET /invoices"],
                    },
                    once(hours(30), 2, &["2001:db8:4::21"], &["POST /invoices/{id}/reminders"]),
                ],
                ..KEY
            },
            Key { name: SHOWN_KEY, issued: by(MARA, minutes(30)), ..KEY },
        ],
        updates: &[],
    },
    Account {
        name: "customer-portal",
        description: "The website on which customers manage their organization",
        owner: "web@brightwater.example",
        tags: &[("team", "web"), ("tier", "1")],
        role: "ServiceAccountWriter",
        created: by(MARA, days(105)),
        keys: &[
            Key {
                name: "eu-central",
                issued: by(MARA, days(105)),
                traffic: &[Traffic {
                    rhythm: Rhythm::AroundTheClock { times: 1 },
                    between: (days(105), days(60)),
                    requests: 2,
                    sources: &["203.0.113.40", "203.0.113.41"],
                    routes: PORTAL_ROUTES,
                }],
                // Since 10 minutes ago, the successor expires within 30 days.
                end: Some(End::Rotated {
                    change: by(YUKI, Ago(60 * 86_400 + 600)),
                    grace_hours: 48,
                    traffic: &[
                        Traffic {
                            rhythm: Rhythm::AroundTheClock { times: 1 },
                            between: (days(60), NOW),
                            requests: 3,
                            sources: &["203.0.113.40", "203.0.113.41"],
                            routes: PORTAL_ROUTES,
                        },
                        Traffic {
                            rhythm: Rhythm::AroundTheClock { times: 6 },
                            between: (days(2), NOW),
                            requests: 2,
                            sources: &["203.0.113.40", "203.0.113.41"],
                            routes: PORTAL_ROUTES,
                        },
                        once(minutes(1), 4, &["203.0.113.40"], PORTAL_ROUTES),
                    ],
                }),
                ..KEY
            },
            Key {
                name: "us-east",
                issued: by(YUKI, days(45)),
                traffic: &[Traffic {
                    rhythm: Rhythm::OfficeHours { times: 1 },
                    between: (days(45), NOW),
                    requests: 2,
                    sources: &["198.51.100.11"],
                    routes: PORTAL_ROUTES,
                }],
                ..KEY
            },
        ],
        updates: &[],
    },
    Account {
        name: "mobile-backend",
        description: "The backend of the apps",
        owner: "mobile@brightwater.example",
        tags: &[("team", "mobile"), ("tier", "1")],
        role: "ServiceAccountWriter",
        created: by(MARA, days(51)),
        keys: &[Key {
            name: "app servers",
            issued: by(MARA, days(50)),
            lifetime_days: 180,
            traffic: &[Traffic {
                rhythm: Rhythm::AroundTheClock { times: 1 },
                between: (days(50), NOW),
                requests: 2,
                sources: &["203.0.113.60", "203.0.113.61", "203.0.113.62"],
                routes: &["GET /organizations/{id}", "GET /teams/{id}", "PUT /teams/{id}/members"],
            }],
            ..KEY
        }],
        updates: &[(by(TOMAS, days(33)), Update::Description("The backend of the iOS and Android apps"))],
    },
    Account {
        name: "nightly-report",
        description: "Writes the nightly usage report",
        owner: "data@brightwater.example",
        tags: &[("team", "data")],
        role: "ServiceAccountReader",
        created: by(YUKI, days(100)),
        keys: &[Key {
            name: "batch server",
            issued: by(YUKI, days(86)),
            traffic: &[Traffic {
                rhythm: Rhythm::Daily { hour: 2 },
                between: (days(86), NOW),
                requests: 1,
                sources: &["192.0.2.10"],
                routes: &["GET /organizations", "GET /teams"],
            }],
            // The old key is in its grace period.
            end: Some(End::Rotated {
                change: by(YUKI, hours(5)),
                grace_hours: 24,
                traffic: &[once(hours(4), 2, &["192.0.2.11"], &["GET /organizations"])],
            }),
            ..KEY
        }],
        updates: &[],
    },
    Account {
        name: "crm-sync",
        description: "Copies organizations to the CRM",
        owner: "sales-ops@brightwater.example",
        tags: &[("team", "sales-ops")],
        role: "ServiceAccountWriter",
        created: by(TOMAS, days(95)),
        keys: &[Key {
            name: "sync worker",
            issued: by(TOMAS, days(95)),
            traffic: &[Traffic {
                rhythm: Rhythm::OfficeHours { times: 1 },
                between: (days(95), days(38)),
                requests: 1,
                sources: &["198.51.100.52"],
                routes: &["GET /organizations", "PATCH /organizations/{id}"],
            }],
            end: Some(End::Rotated {
                change: by(MARA, days(38)),
                grace_hours: 1,
                traffic: &[Traffic {
                    rhythm: Rhythm::OfficeHours { times: 1 },
                    between: (days(37), NOW),
                    requests: 2,
                    sources: &["198.51.100.52"],
                    routes: &["GET /organizations", "PATCH /organizations/{id}"],
                }],
            }),
            ..KEY
        }],
        updates: &[(by(MARA, days(38)), Update::Owner("revenue-ops@brightwater.example"))],
    },
    Account {
        name: "uptime-monitor",
        description: "Checks the API from outside",
        owner: "platform@brightwater.example",
        tags: &[("team", "platform")],
        role: "ServiceAccountReader",
        created: by(TOMAS, days(60)),
        keys: &[Key {
            name: "probe",
            issued: by(TOMAS, days(60)),
            lifetime_days: 365,
            role: Some("StatusReader"),
            traffic: &[
                Traffic {
                    rhythm: Rhythm::AroundTheClock { times: 1 },
                    between: (days(60), NOW),
                    requests: 1,
                    sources: &["198.51.100.200", "2001:db8:9::1"],
                    routes: &["GET /organizations"],
                },
                once(minutes(5), 1, &["198.51.100.200"], &["GET /organizations"]),
            ],
            ..KEY
        }],
        updates: &[],
    },
    Account {
        name: "warehouse-export",
        description: "Loads reports into the data warehouse",
        owner: "data@brightwater.example",
        tags: &[("team", "data"), ("kind", "batch")],
        role: "ReportsExporter",
        created: by(YUKI, days(98)),
        keys: &[Key {
            name: "loader",
            issued: by(YUKI, days(71)),
            networks: &["192.0.2.0/28"],
            traffic: &[
                Traffic {
                    rhythm: Rhythm::Daily { hour: 4 },
                    between: (days(71), NOW),
                    requests: 1,
                    sources: &["192.0.2.5"],
                    routes: &["GET /reports", "GET /reports/{id}", "POST /reports/exports"],
                },
                once(hours(28), 3, &["198.51.100.23"], &["GET /reports"]),
            ],
            ..KEY
        }],
        updates: &[],
    },
    Account {
        name: "support-dashboard",
        description: "Shows support agents the organization of a customer",
        owner: "support@brightwater.example",
        tags: &[("team", "support")],
        role: "ServiceAccountReader",
        created: by(MARA, days(67)),
        keys: &[Key {
            name: "helpdesk",
            issued: by(MARA, days(67)),
            traffic: &[
                Traffic {
                    rhythm: Rhythm::OfficeHours { times: 1 },
                    between: (days(67), NOW),
                    requests: 2,
                    sources: &["203.0.113.88"],
                    routes: &["GET /organizations/{id}", "GET /teams/{id}"],
                },
                Traffic {
                    rhythm: Rhythm::Daily { hour: 9 },
                    between: (days(6), NOW),
                    requests: 1,
                    sources: &["203.0.113.88"],
                    routes: &["PATCH /organizations/{id}"],
                },
            ],
            ..KEY
        }],
        updates: &[],
    },
    Account {
        name: "deploy-pipeline",
        description: "Records deployments from CI",
        owner: "platform@brightwater.example",
        tags: &[("team", "platform"), ("kind", "ci")],
        role: "DeployBot",
        created: by(TOMAS, days(88)),
        keys: &[Key {
            name: "ci runner",
            issued: by(TOMAS, days(86)),
            traffic: &[Traffic {
                rhythm: Rhythm::OfficeHours { times: 1 },
                between: (days(86), NOW),
                requests: 1,
                sources: &["198.51.100.140", "198.51.100.141"],
                routes: &["POST /teams/{id}/deployments", "GET /teams/{id}"],
            }],
            ..KEY
        }],
        updates: &[],
    },
    Account {
        name: "webhook-relay",
        description: "Delivers events from partners",
        owner: "integrations@brightwater.example",
        tags: &[("team", "integrations")],
        role: "ServiceAccountWriter",
        created: by(YUKI, days(64)),
        keys: &[
            Key {
                name: "relay-1",
                issued: by(YUKI, days(64)),
                // A host that was forgotten still uses the revoked key.
                traffic: &[
                    Traffic {
                        rhythm: Rhythm::OfficeHours { times: 1 },
                        between: (days(64), NOW),
                        requests: 1,
                        sources: &["198.51.100.161"],
                        routes: &["POST /teams/{id}/events"],
                    },
                    once(minutes(13), 2, &["198.51.100.161"], &["POST /teams/{id}/events"]),
                ],
                end: Some(End::Revoked(by(YUKI, days(9)))),
                ..KEY
            },
            Key {
                name: "relay-2",
                issued: by(YUKI, days(9)),
                traffic: &[Traffic {
                    rhythm: Rhythm::AroundTheClock { times: 2 },
                    between: (days(9), NOW),
                    requests: 2,
                    sources: &["198.51.100.162"],
                    routes: &["POST /teams/{id}/events"],
                }],
                ..KEY
            },
        ],
        updates: &[],
    },
    Account {
        name: "legacy-importer",
        description: "Imports files from the old system. Disabled until its owner is found",
        owner: "",
        tags: &[("kind", "batch")],
        role: "ServiceAccountWriter",
        created: by(MARA, days(102)),
        keys: &[Key {
            name: "import job",
            issued: by(MARA, days(50)),
            lifetime_days: 180,
            traffic: &[Traffic {
                rhythm: Rhythm::Daily { hour: 23 },
                between: (days(50), NOW),
                requests: 1,
                sources: &["192.0.2.77"],
                routes: &["PUT /organizations/{id}"],
            }],
            ..KEY
        }],
        updates: &[(by(TOMAS, days(12)), Update::Disable)],
    },
    Account {
        name: "invoice-archiver",
        description: "Archives paid invoices",
        owner: "finance@brightwater.example",
        tags: &[("team", "finance")],
        role: "InvoiceReader",
        created: by(YUKI, days(97)),
        keys: &[Key { name: "cold storage", issued: by(YUKI, days(97)), lifetime_days: 365, ..KEY }],
        updates: &[],
    },
    Account {
        name: "partner-oldport",
        description: "Access of a former partner",
        owner: "partners@brightwater.example",
        tags: &[("kind", "partner")],
        role: "ServiceAccountReader",
        created: by(MARA, days(60)),
        keys: &[Key {
            name: "partner",
            issued: by(MARA, days(60)),
            lifetime_days: 365,
            traffic: &[Traffic {
                rhythm: Rhythm::OfficeHours { times: 1 },
                between: (days(60), days(23)),
                requests: 1,
                sources: &["2001:db8:77::5"],
                routes: &["GET /organizations"],
            }],
            ..KEY
        }],
        updates: &[(by(MARA, days(25)), Update::Delete)],
    },
    Account {
        name: "churn-model",
        description: "Trains the churn model. Waits for its first key",
        owner: "data@brightwater.example",
        tags: &[("team", "data")],
        role: "ServiceAccountReader",
        created: by(YUKI, hours(2)),
        keys: &[],
        updates: &[],
    },
];

const PORTAL_ROUTES: &[&str] = &[
    "GET /organizations/{id}",
    "GET /organizations/{id}",
    "GET /teams/{id}",
    "PATCH /organizations/{id}",
    "POST /teams",
];
