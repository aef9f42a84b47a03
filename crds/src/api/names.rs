//! Groups, versions, annotation and label names, and conditions.

/// The API group of the configuration kinds.
pub const GROUP: &str = "metallb.io";

/// The first version; every kind has it.
pub const V1BETA1: &str = "v1beta1";

/// BGPPeer's preferred version.
pub const V1BETA2: &str = "v1beta2";

/// Where a configuration lives unless told otherwise.
pub const DEFAULT_NAMESPACE: &str = "metallb-system";

/// Kinds of [`GROUP`] that report and configure nothing.
pub const STATUS_KINDS: [&str; 3] = ["ServiceL2Status", "ServiceBGPStatus", "ConfigurationState"];

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
