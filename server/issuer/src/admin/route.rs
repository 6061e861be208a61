//! The table of routes: what the router, the OpenAPI description and the tests go by.

use daypass_proto::{access_request::AccessRequest, admin_api as api, authorization::HttpMethod};
use schemars::{JsonSchema, Schema, SchemaGenerator};

/// The operations, each with its word.
macro_rules! operations {
    ($($variant:ident = $word:literal),+ $(,)?) => {
        /// What can be asked of the admin API.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        #[expect(missing_docs, reason = "the table of routes says it")]
        pub enum Operation { $($variant),+ }

        impl Operation {
            /// All of them.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// Its name in the description and the ledger.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

operations! {
    Describe = "describe",
    DeviceList = "device_list",
    DeviceShow = "device_show",
    DeviceApprove = "device_approve",
    DeviceSuspend = "device_suspend",
    DeviceResume = "device_resume",
    DeviceRevoke = "device_revoke",
    DeviceReplace = "device_replace",
    GrantList = "grant_list",
    GrantShow = "grant_show",
    GrantApprove = "grant_approve",
    GrantSuspend = "grant_suspend",
    GrantResume = "grant_resume",
    GrantRevoke = "grant_revoke",
    RequestList = "request_list",
    RequestShow = "request_show",
    RequestApprove = "request_approve",
    RequestNarrow = "request_narrow",
    RequestRefuse = "request_refuse",
    Invite = "invite",
    InvitationList = "invitation_list",
    InvitationWithdraw = "invitation_withdraw",
    Offboard = "offboard",
    ProjectEnd = "project_end",
    PhaseList = "phase_list",
    PhaseEnd = "phase_end",
    PolicyList = "policy_list",
    PolicyLoad = "policy_load",
    ProposalList = "proposal_list",
    ProposalConfirm = "proposal_confirm",
    ProposalWithdraw = "proposal_withdraw",
    AdministratorList = "administrator_list",
    GateList = "gate_list",
    GateRemove = "gate_remove",
    NotificationList = "notification_list",
    NotificationRetry = "notification_retry",
    NotificationDrop = "notification_drop",
    LedgerList = "ledger_list",
}

/// The schema of a type.
pub(super) type Shape = fn(&mut SchemaGenerator) -> Schema;

fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn any(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "object"})
}

/// A parameter of the query: its name, and what it says.
pub(super) type Parameter = (&'static str, &'static str);

/// One of them.
pub(super) struct Route {
    pub(super) operation: Operation,
    pub(super) method: HttpMethod,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Parameter],
    pub(super) request: Option<Shape>,
    pub(super) answer: Shape,
}

const COLLABORATOR: Parameter = ("collaborator", "only of this collaborator");
const PROJECT: Parameter = ("project", "only in this project");
const ROLE: Parameter = ("role", "only in this role");
const DEVICE: Parameter = ("device", "only of this device");
const STATE: Parameter = ("state", "only in one of these states, separated by commas");
const SORT: Parameter = ("sort", "in this order: `id`, `collaborator`, `project`, `role`, `state` or `until`");
const LIMIT: Parameter = ("limit", "no more than so many; 1000 where it is left out, and at most");

const LISTED: &[Parameter] = &[COLLABORATOR, PROJECT, ROLE, STATE, SORT, LIMIT];
const GRANTS: &[Parameter] = &[COLLABORATOR, PROJECT, ROLE, DEVICE, STATE, SORT, LIMIT];
const DEVICES: &[Parameter] = &[COLLABORATOR, PROJECT, STATE, LIMIT];
const EVENTS: &[Parameter] = &[
    COLLABORATOR,
    PROJECT,
    DEVICE,
    ("kind", "only of this kind; docs/ledger.md has them all"),
    (
        "since",
        "not before: a time, a date (its begin in the project's zone, or the issuer's), or how long ago, such as `2h`",
    ),
    ("until", "not after: a time, a date (its end there), or how long ago"),
    ("after", "only events behind this one"),
    LIMIT,
];

const fn get(
    operation: Operation,
    path: &'static str,
    summary: &'static str,
    query: &'static [Parameter],
    answer: Shape,
) -> Route {
    Route { operation, method: HttpMethod::Get, path, summary, query, request: None, answer }
}

const fn post(operation: Operation, path: &'static str, summary: &'static str, request: Shape, answer: Shape) -> Route {
    Route { operation, method: HttpMethod::Post, path, summary, query: &[], request: Some(request), answer }
}

/// The one that takes more than others.
pub(super) const POLICY: &str = "/admin/v1/policy";

/// All of them.
pub(super) const ROUTES: [Route; Operation::ALL.len()] = [
    get(Operation::Describe, "/admin/v1/openapi.json", "this description", &[], any),
    get(Operation::DeviceList, "/admin/v1/devices", "list devices", DEVICES, shape::<api::List<api::Device>>),
    get(Operation::DeviceShow, "/admin/v1/devices/{device}", "show a device", &[], shape::<api::Device>),
    post(
        Operation::DeviceApprove,
        "/admin/v1/devices/{device}/approve",
        "approve a device whose code was compared; somebody else's",
        shape::<api::ApproveDevice>,
        shape::<api::Device>,
    ),
    post(
        Operation::DeviceSuspend,
        "/admin/v1/devices/{device}/suspend",
        "hold a device back",
        shape::<api::Decide>,
        shape::<api::Device>,
    ),
    post(
        Operation::DeviceResume,
        "/admin/v1/devices/{device}/resume",
        "let a suspended device on; somebody else's",
        shape::<api::Decide>,
        shape::<api::Device>,
    ),
    post(
        Operation::DeviceRevoke,
        "/admin/v1/devices/{device}/revoke",
        "end a device and its grants",
        shape::<api::Decide>,
        shape::<api::Device>,
    ),
    post(
        Operation::DeviceReplace,
        "/admin/v1/devices/{device}/replace",
        "invite whoever has a device to the same grants on another one, as an owner of all their projects",
        shape::<api::ReplaceDevice>,
        shape::<api::Replacement>,
    ),
    get(Operation::GrantList, "/admin/v1/grants", "list grants", GRANTS, shape::<api::List<api::Grant>>),
    get(Operation::GrantShow, "/admin/v1/grants/{grant}", "show a grant", &[], shape::<api::GrantShown>),
    post(
        Operation::GrantApprove,
        "/admin/v1/grants/{grant}/approve",
        "approve a grant, as an owner of its project; somebody else's",
        shape::<api::Decide>,
        shape::<api::GrantShown>,
    ),
    post(
        Operation::GrantSuspend,
        "/admin/v1/grants/{grant}/suspend",
        "hold a grant back",
        shape::<api::Decide>,
        shape::<api::Grant>,
    ),
    post(
        Operation::GrantResume,
        "/admin/v1/grants/{grant}/resume",
        "let a suspended grant on, as an owner of its project; somebody else's",
        shape::<api::Decide>,
        shape::<api::Grant>,
    ),
    post(
        Operation::GrantRevoke,
        "/admin/v1/grants/{grant}/revoke",
        "end a grant",
        shape::<api::Decide>,
        shape::<api::Grant>,
    ),
    get(
        Operation::RequestList,
        "/admin/v1/requests",
        "list requests for longer, or for more",
        GRANTS,
        shape::<api::List<AccessRequest>>,
    ),
    get(
        Operation::RequestShow,
        "/admin/v1/requests/{request}",
        "show a request, and what was used, at gates and in tokens, beside what is granted",
        &[],
        shape::<api::RequestShown>,
    ),
    post(
        Operation::RequestApprove,
        "/admin/v1/requests/{request}/approve",
        "approve a request as it is, as an owner of its project; somebody else's",
        shape::<api::Decide>,
        shape::<api::RequestDecided>,
    ),
    post(
        Operation::RequestNarrow,
        "/admin/v1/requests/{request}/narrow",
        "approve less than a request asks for, as an owner of its project; somebody else's",
        shape::<api::NarrowRequest>,
        shape::<api::RequestDecided>,
    ),
    post(
        Operation::RequestRefuse,
        "/admin/v1/requests/{request}/refuse",
        "refuse a request, as an owner of its project; somebody else's",
        shape::<api::Decide>,
        shape::<api::RequestDecided>,
    ),
    post(
        Operation::Invite,
        "/admin/v1/invitations",
        "invite somebody, as an owner of the project",
        shape::<api::Invite>,
        shape::<api::Invited>,
    ),
    get(
        Operation::InvitationList,
        "/admin/v1/invitations",
        "list invitations",
        LISTED,
        shape::<api::List<api::Invitation>>,
    ),
    post(
        Operation::InvitationWithdraw,
        "/admin/v1/invitations/{invitation}/withdraw",
        "take an open invitation back, and its grant",
        shape::<api::Decide>,
        shape::<api::Invitation>,
    ),
    post(
        Operation::Offboard,
        "/admin/v1/offboard",
        "end everything of somebody",
        shape::<api::Offboard>,
        shape::<api::Ended>,
    ),
    post(
        Operation::ProjectEnd,
        "/admin/v1/projects/{project}/end",
        "end all grants and invitations of a project, and the devices that are left with nothing",
        shape::<api::End>,
        shape::<api::Ended>,
    ),
    get(
        Operation::PhaseList,
        "/admin/v1/phases",
        "list the phases of projects, as the policy in force has them",
        &[PROJECT],
        shape::<api::List<api::Phase>>,
    ),
    post(
        Operation::PhaseEnd,
        "/admin/v1/projects/{project}/phases/{phase}/end",
        "end all grants and invitations that are for a phase, and the devices that are left with nothing",
        shape::<api::End>,
        shape::<api::Ended>,
    ),
    get(
        Operation::PolicyList,
        "/admin/v1/policy/versions",
        "list the versions of the policy that were in force, with who put them there, and what waits",
        &[],
        shape::<api::Policies>,
    ),
    post(
        Operation::PolicyLoad,
        POLICY,
        "put a policy in force; where it touches owners, sensitivity or what is trusted of devices, it waits",
        shape::<api::LoadPolicy>,
        shape::<api::LoadedPolicy>,
    ),
    get(
        Operation::ProposalList,
        "/admin/v1/policy/proposals",
        "list the policies that wait, or waited",
        &[],
        shape::<api::List<api::Proposal>>,
    ),
    post(
        Operation::ProposalConfirm,
        "/admin/v1/policy/proposals/{proposal}/confirm",
        "put a policy in force that somebody else brought",
        shape::<api::Decide>,
        shape::<api::Proposal>,
    ),
    post(
        Operation::ProposalWithdraw,
        "/admin/v1/policy/proposals/{proposal}/withdraw",
        "take back a policy that waits",
        shape::<api::Decide>,
        shape::<api::Proposal>,
    ),
    get(
        Operation::AdministratorList,
        "/admin/v1/administrators",
        "list the administrators",
        &[],
        shape::<api::List<api::Administrator>>,
    ),
    get(Operation::GateList, "/admin/v1/gates", "list gates", &[], shape::<api::List<api::Gate>>),
    post(
        Operation::GateRemove,
        "/admin/v1/gates/{gate}/remove",
        "take a gate out: it learns nothing more, and serves nobody once what it knows is too old",
        shape::<api::Decide>,
        shape::<api::Gate>,
    ),
    get(
        Operation::NotificationList,
        "/admin/v1/notifications",
        "list messages that sinks have not taken yet, the oldest first",
        &[("dead", "`true`: only what is not tried any more"), LIMIT],
        shape::<api::List<api::Notification>>,
    ),
    post(
        Operation::NotificationRetry,
        "/admin/v1/notifications/retry",
        "try again what is not tried any more",
        shape::<api::DeadNotifications>,
        shape::<api::Notifications>,
    ),
    post(
        Operation::NotificationDrop,
        "/admin/v1/notifications/drop",
        "take out what is not tried any more: nobody is told of it",
        shape::<api::DeadNotifications>,
        shape::<api::Notifications>,
    ),
    get(
        Operation::LedgerList,
        "/admin/v1/ledger/events",
        "list events of the ledger",
        EVENTS,
        shape::<api::List<api::Event>>,
    ),
];
