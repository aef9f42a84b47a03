//! Groups, versions, annotation and label names, and conditions.

/// The API group of the configuration kinds.
pub const GROUP: &str = "metallb.io";

/// The first version; every kind has it.
pub const V1BETA1: &str = "v1beta1";

/// BGPPeer's preferred version.
pub const V1BETA2: &str = "v1beta2";

/// The API group of the kinds that nobody else has.
pub const FERROLB_GROUP: &str = "ferrolb.io";

/// The version of the kinds of [`FERROLB_GROUP`].
pub const V1ALPHA1: &str = "v1alpha1";

/// Where a configuration lives unless told otherwise.
pub const DEFAULT_NAMESPACE: &str = "metallb-system";

/// Kinds of [`GROUP`] that report and configure nothing.
pub const STATUS_KINDS: [&str; 3] = [
    super::SERVICE_L2_STATUS.kind,
    super::SERVICE_BGP_STATUS.kind,
    super::CONFIGURATION_STATE.kind,
];

/// The deprecated prefix of Service annotations: still honoured, and said to be deprecated.
pub const DEPRECATED_ANNOTATION_PREFIX: &str = "metallb.universe.tf/";

/// Service annotation: allocate from this pool only.
pub const ADDRESS_POOL: &str = "metallb.io/address-pool";

/// [`ADDRESS_POOL`] under the deprecated prefix.
pub const DEPRECATED_ADDRESS_POOL: &str = "metallb.universe.tf/address-pool";

/// Service annotation: the addresses asked for.
pub const LOAD_BALANCER_IPS: &str = "metallb.io/loadBalancerIPs";

/// [`LOAD_BALANCER_IPS`] under the deprecated prefix.
pub const DEPRECATED_LOAD_BALANCER_IPS: &str = "metallb.universe.tf/loadBalancerIPs";

/// Service annotation: the sharing key.
pub const ALLOW_SHARED_IP: &str = "metallb.io/allow-shared-ip";

/// [`ALLOW_SHARED_IP`] under the deprecated prefix.
pub const DEPRECATED_ALLOW_SHARED_IP: &str = "metallb.universe.tf/allow-shared-ip";

/// Service annotation, written by the controller: the pool its addresses are from.
pub const IP_ALLOCATED_FROM_POOL: &str = "metallb.io/ip-allocated-from-pool";

/// Service annotation, written by the controller with the addresses that it gives: which node is to
/// take each at layer 2 when nobody holds it.
pub const LAYER2_HINT: &str = "ferrolb.io/layer2-hint";

/// What the annotations begin with that nobody else has.
pub const ANNOTATION_PREFIX: &str = "ferrolb.io/";

/// BGPPeer annotation, `true` or `false`: the peer makes the connection, and nobody dials it.
pub const BGP_PASSIVE: &str = "ferrolb.io/bgp-passive";

/// BGPPeer annotation, a duration such as `1h`: for how long after the restart time the peer is asked to
/// keep the routes of a speaker that is away (RFC 9494).
pub const BGP_LONG_LIVED_STALE_TIME: &str = "ferrolb.io/bgp-long-lived-stale-time";

/// Service condition: whether the Service has what it asks for, and why not.
pub const CONDITION_ALLOCATED: &str = "ferrolb.io/Allocated";

/// The type a Secret with a BGP password must have.
pub const BASIC_AUTH_SECRET: &str = "kubernetes.io/basic-auth";

/// The key of the password in such a Secret.
pub const PASSWORD_KEY: &str = "password";

/// The Secret with the heartbeat key, as MetalLB calls that of its memberlist.
pub const HEARTBEAT_SECRET: &str = "memberlist";

/// The key of the heartbeat key in it.
pub const HEARTBEAT_KEY: &str = "secretkey";

/// Label of status objects: the node they are about.
pub const LABEL_NODE: &str = "metallb.io/node";

/// Label of status objects: the name of the Service they are about.
pub const LABEL_SERVICE_NAME: &str = "metallb.io/service-name";

/// Label of status objects: the namespace of the Service they are about.
pub const LABEL_SERVICE_NAMESPACE: &str = "metallb.io/service-namespace";

/// Label of a ConfigurationState: which program reports, [`COMPONENT_CONTROLLER`] or
/// [`COMPONENT_SPEAKER`].
pub const LABEL_COMPONENT_TYPE: &str = "metallb.io/component-type";

/// Label of a speaker's ConfigurationState: the node it runs on.
pub const LABEL_NODE_NAME: &str = "metallb.io/node-name";

/// Annotation of a speaker's ConfigurationState: by what the speakers that do not hear it know that it
/// lives, and on which segments it is.
pub const LAYER2_SIGN: &str = "ferrolb.io/layer2";

/// Label of a BGPSession: the BGPPeer it is with.
pub const LABEL_PEER: &str = "ferrolb.io/peer";

/// Value of [`LABEL_COMPONENT_TYPE`], and the name of the controller's ConfigurationState.
pub const COMPONENT_CONTROLLER: &str = "controller";

/// Value of [`LABEL_COMPONENT_TYPE`]; a speaker's ConfigurationState is called `speaker-NODE`.
pub const COMPONENT_SPEAKER: &str = "speaker";

/// What the name of a ServiceL2Status begins with (`generateName`).
pub const SERVICE_L2_STATUS_PREFIX: &str = "l2-";

/// What the name of a ServiceBGPStatus begins with (`generateName`).
pub const SERVICE_BGP_STATUS_PREFIX: &str = "bgp-";

/// Condition of the controller's ConfigurationState.
pub const CONDITION_POOLS_VALID: &str = "poolReconcilerValid";

/// Condition of a speaker's ConfigurationState.
pub const CONDITION_CONFIG_VALID: &str = "configReconcilerValid";

/// Field owner of [`CONDITION_POOLS_VALID`].
pub const POOLS_FIELD_OWNER: &str = "poolReconciler";

/// Field owner of [`CONDITION_CONFIG_VALID`].
pub const CONFIG_FIELD_OWNER: &str = "configReconciler";

/// Reason of such a condition when it is true.
pub const REASON_RECONCILED: &str = "Reconciled";

/// Reason of such a condition when it is false because the configuration is wrong.
pub const REASON_CONFIGURATION_ERROR: &str = "ConfigurationError";

/// Reason of such a condition when it is false for any other cause.
pub const REASON_UNKNOWN_ERROR: &str = "UnknownError";

/// What the message of such a condition begins with when the configuration is wrong.
pub const CONFIGURATION_ERROR_PREFIX: &str = "configuration error: ";
