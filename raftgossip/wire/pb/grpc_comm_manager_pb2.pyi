from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EntryKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENTRY_COMMAND: _ClassVar[EntryKind]
    ENTRY_NOOP: _ClassVar[EntryKind]
    ENTRY_CONFIGURATION: _ClassVar[EntryKind]
ENTRY_COMMAND: EntryKind
ENTRY_NOOP: EntryKind
ENTRY_CONFIGURATION: EntryKind

class NodeInfo(_message.Message):
    __slots__ = ("node_id", "ip_address", "port", "capabilities", "status", "last_seen", "join_timestamp", "metadata", "identity")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    IP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    JOIN_TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    ip_address: str
    port: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    status: str
    last_seen: float
    join_timestamp: float
    metadata: _containers.ScalarMap[str, str]
    identity: str
    def __init__(self, node_id: _Optional[int] = ..., ip_address: _Optional[str] = ..., port: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., status: _Optional[str] = ..., last_seen: _Optional[float] = ..., join_timestamp: _Optional[float] = ..., metadata: _Optional[_Mapping[str, str]] = ..., identity: _Optional[str] = ...) -> None: ...

class RegisterNodeRequest(_message.Message):
    __slots__ = ("node_id", "ip_address", "port", "capabilities", "metadata", "cluster_id", "can_wait")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    IP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    CAN_WAIT_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    ip_address: str
    port: int
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    metadata: _containers.ScalarMap[str, str]
    cluster_id: str
    can_wait: bool
    def __init__(self, node_id: _Optional[int] = ..., ip_address: _Optional[str] = ..., port: _Optional[int] = ..., capabilities: _Optional[_Iterable[str]] = ..., metadata: _Optional[_Mapping[str, str]] = ..., cluster_id: _Optional[str] = ..., can_wait: bool = ...) -> None: ...

class RegisterNodeResponse(_message.Message):
    __slots__ = ("status", "node_id", "is_bootstrap", "registry_version", "nodes", "leader", "message", "cluster_id", "registry_id", "total_nodes", "heartbeat_interval_ms", "bootstrap_wait_ms")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    IS_BOOTSTRAP_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_ID_FIELD_NUMBER: _ClassVar[int]
    TOTAL_NODES_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    status: str
    node_id: int
    is_bootstrap: bool
    registry_version: int
    nodes: _containers.RepeatedCompositeFieldContainer[NodeInfo]
    leader: NodeInfo
    message: str
    cluster_id: str
    registry_id: str
    total_nodes: int
    heartbeat_interval_ms: int
    bootstrap_wait_ms: int
    def __init__(self, status: _Optional[str] = ..., node_id: _Optional[int] = ..., is_bootstrap: bool = ..., registry_version: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[NodeInfo, _Mapping]]] = ..., leader: _Optional[_Union[NodeInfo, _Mapping]] = ..., message: _Optional[str] = ..., cluster_id: _Optional[str] = ..., registry_id: _Optional[str] = ..., total_nodes: _Optional[int] = ..., heartbeat_interval_ms: _Optional[int] = ..., bootstrap_wait_ms: _Optional[int] = ...) -> None: ...

class GetNodesRequest(_message.Message):
    __slots__ = ("requesting_node_id", "limit", "after_node_id", "since_version", "registry_id")
    REQUESTING_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_ID_FIELD_NUMBER: _ClassVar[int]
    requesting_node_id: int
    limit: int
    after_node_id: int
    since_version: int
    registry_id: str
    def __init__(self, requesting_node_id: _Optional[int] = ..., limit: _Optional[int] = ..., after_node_id: _Optional[int] = ..., since_version: _Optional[int] = ..., registry_id: _Optional[str] = ...) -> None: ...

class GetNodesResponse(_message.Message):
    __slots__ = ("nodes", "registry_version", "registry_id", "is_delta", "removed", "next_after_node_id", "total_nodes")
    NODES_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_ID_FIELD_NUMBER: _ClassVar[int]
    IS_DELTA_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    NEXT_AFTER_NODE_ID_FIELD_NUMBER: _ClassVar[int]
    TOTAL_NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[NodeInfo]
    registry_version: int
    registry_id: str
    is_delta: bool
    removed: _containers.RepeatedScalarFieldContainer[int]
    next_after_node_id: int
    total_nodes: int
    def __init__(self, nodes: _Optional[_Iterable[_Union[NodeInfo, _Mapping]]] = ..., registry_version: _Optional[int] = ..., registry_id: _Optional[str] = ..., is_delta: bool = ..., removed: _Optional[_Iterable[int]] = ..., next_after_node_id: _Optional[int] = ..., total_nodes: _Optional[int] = ...) -> None: ...

class GetLeaderRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetLeaderResponse(_message.Message):
    __slots__ = ("leader", "registry_version", "message", "term", "age_ms")
    LEADER_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    leader: NodeInfo
    registry_version: int
    message: str
    term: int
    age_ms: int
    def __init__(self, leader: _Optional[_Union[NodeInfo, _Mapping]] = ..., registry_version: _Optional[int] = ..., message: _Optional[str] = ..., term: _Optional[int] = ..., age_ms: _Optional[int] = ...) -> None: ...

class UpdateLeaderRequest(_message.Message):
    __slots__ = ("leader_id", "term")
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    leader_id: int
    term: int
    def __init__(self, leader_id: _Optional[int] = ..., term: _Optional[int] = ...) -> None: ...

class UpdateLeaderResponse(_message.Message):
    __slots__ = ("status", "leader_id", "message")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    status: str
    leader_id: int
    message: str
    def __init__(self, status: _Optional[str] = ..., leader_id: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class HeartbeatRequest(_message.Message):
    __slots__ = ("node_id", "cluster_id")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    cluster_id: str
    def __init__(self, node_id: _Optional[int] = ..., cluster_id: _Optional[str] = ...) -> None: ...

class HeartbeatResponse(_message.Message):
    __slots__ = ("status", "registry_version", "registry_id")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_ID_FIELD_NUMBER: _ClassVar[int]
    status: str
    registry_version: int
    registry_id: str
    def __init__(self, status: _Optional[str] = ..., registry_version: _Optional[int] = ..., registry_id: _Optional[str] = ...) -> None: ...

class HealthCheckRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HealthCheckResponse(_message.Message):
    __slots__ = ("status", "timestamp", "version")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    status: str
    timestamp: float
    version: str
    def __init__(self, status: _Optional[str] = ..., timestamp: _Optional[float] = ..., version: _Optional[str] = ...) -> None: ...

class RemoveNodeRequest(_message.Message):
    __slots__ = ("node_id",)
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    def __init__(self, node_id: _Optional[int] = ...) -> None: ...

class RemoveNodeResponse(_message.Message):
    __slots__ = ("status", "node_id", "message")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    status: str
    node_id: int
    message: str
    def __init__(self, status: _Optional[str] = ..., node_id: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class GetStatsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatsResponse(_message.Message):
    __slots__ = ("total_nodes", "active_nodes", "leader_id", "registry_version", "bootstrap_initiated", "uptime", "cluster_id", "registry_id", "suspected_nodes", "num_watchers", "settings", "gateways")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TOTAL_NODES_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_NODES_FIELD_NUMBER: _ClassVar[int]
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_INITIATED_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_ID_FIELD_NUMBER: _ClassVar[int]
    SUSPECTED_NODES_FIELD_NUMBER: _ClassVar[int]
    NUM_WATCHERS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    GATEWAYS_FIELD_NUMBER: _ClassVar[int]
    total_nodes: int
    active_nodes: int
    leader_id: int
    registry_version: int
    bootstrap_initiated: bool
    uptime: float
    cluster_id: str
    registry_id: str
    suspected_nodes: int
    num_watchers: int
    settings: _containers.ScalarMap[str, str]
    gateways: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, total_nodes: _Optional[int] = ..., active_nodes: _Optional[int] = ..., leader_id: _Optional[int] = ..., registry_version: _Optional[int] = ..., bootstrap_initiated: bool = ..., uptime: _Optional[float] = ..., cluster_id: _Optional[str] = ..., registry_id: _Optional[str] = ..., suspected_nodes: _Optional[int] = ..., num_watchers: _Optional[int] = ..., settings: _Optional[_Mapping[str, str]] = ..., gateways: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchNodesRequest(_message.Message):
    __slots__ = ("since_version", "registry_id")
    SINCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_ID_FIELD_NUMBER: _ClassVar[int]
    since_version: int
    registry_id: str
    def __init__(self, since_version: _Optional[int] = ..., registry_id: _Optional[str] = ...) -> None: ...

class NodeEvent(_message.Message):
    __slots__ = ("kind", "registry_version", "registry_id", "node_id", "node", "term")
    KIND_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    kind: str
    registry_version: int
    registry_id: str
    node_id: int
    node: NodeInfo
    term: int
    def __init__(self, kind: _Optional[str] = ..., registry_version: _Optional[int] = ..., registry_id: _Optional[str] = ..., node_id: _Optional[int] = ..., node: _Optional[_Union[NodeInfo, _Mapping]] = ..., term: _Optional[int] = ...) -> None: ...

class ConfigureRequest(_message.Message):
    __slots__ = ("settings",)
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    settings: _containers.ScalarMap[str, str]
    def __init__(self, settings: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ConfigureResponse(_message.Message):
    __slots__ = ("settings",)
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    settings: _containers.ScalarMap[str, str]
    def __init__(self, settings: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SyncRegistryRequest(_message.Message):
    __slots__ = ("gateway_id", "since_version", "registry_id")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    SINCE_VERSION_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_ID_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    since_version: int
    registry_id: str
    def __init__(self, gateway_id: _Optional[str] = ..., since_version: _Optional[int] = ..., registry_id: _Optional[str] = ...) -> None: ...

class SyncedNode(_message.Message):
    __slots__ = ("node", "age_ms", "owner", "gateway_id")
    NODE_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    node: NodeInfo
    age_ms: int
    owner: str
    gateway_id: str
    def __init__(self, node: _Optional[_Union[NodeInfo, _Mapping]] = ..., age_ms: _Optional[int] = ..., owner: _Optional[str] = ..., gateway_id: _Optional[str] = ...) -> None: ...

class SyncRegistryResponse(_message.Message):
    __slots__ = ("gateway_id", "registry_id", "registry_version", "is_delta", "nodes", "removed", "leader_id", "leader_term", "cluster_ids", "gateway_ids")
    GATEWAY_ID_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_ID_FIELD_NUMBER: _ClassVar[int]
    REGISTRY_VERSION_FIELD_NUMBER: _ClassVar[int]
    IS_DELTA_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    LEADER_ID_FIELD_NUMBER: _ClassVar[int]
    LEADER_TERM_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_IDS_FIELD_NUMBER: _ClassVar[int]
    GATEWAY_IDS_FIELD_NUMBER: _ClassVar[int]
    gateway_id: str
    registry_id: str
    registry_version: int
    is_delta: bool
    nodes: _containers.RepeatedCompositeFieldContainer[SyncedNode]
    removed: _containers.RepeatedScalarFieldContainer[int]
    leader_id: int
    leader_term: int
    cluster_ids: _containers.RepeatedScalarFieldContainer[str]
    gateway_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, gateway_id: _Optional[str] = ..., registry_id: _Optional[str] = ..., registry_version: _Optional[int] = ..., is_delta: bool = ..., nodes: _Optional[_Iterable[_Union[SyncedNode, _Mapping]]] = ..., removed: _Optional[_Iterable[int]] = ..., leader_id: _Optional[int] = ..., leader_term: _Optional[int] = ..., cluster_ids: _Optional[_Iterable[str]] = ..., gateway_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class PublishRevocationsRequest(_message.Message):
    __slots__ = ("revocation_list", "forwarded")
    REVOCATION_LIST_FIELD_NUMBER: _ClassVar[int]
    FORWARDED_FIELD_NUMBER: _ClassVar[int]
    revocation_list: bytes
    forwarded: bool
    def __init__(self, revocation_list: _Optional[bytes] = ..., forwarded: bool = ...) -> None: ...

class PublishRevocationsResponse(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class RaftEntry(_message.Message):
    __slots__ = ("index", "term", "kind", "data")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    index: int
    term: int
    kind: EntryKind
    data: bytes
    def __init__(self, index: _Optional[int] = ..., term: _Optional[int] = ..., kind: _Optional[_Union[EntryKind, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class PreVoteRequest(_message.Message):
    __slots__ = ("last_log_index", "last_log_term")
    LAST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    last_log_index: int
    last_log_term: int
    def __init__(self, last_log_index: _Optional[int] = ..., last_log_term: _Optional[int] = ...) -> None: ...

class PreVoteResponse(_message.Message):
    __slots__ = ("granted",)
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    granted: bool
    def __init__(self, granted: bool = ...) -> None: ...

class VoteRequest(_message.Message):
    __slots__ = ("is_transfer", "last_log_index", "last_log_term")
    IS_TRANSFER_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_LOG_TERM_FIELD_NUMBER: _ClassVar[int]
    is_transfer: bool
    last_log_index: int
    last_log_term: int
    def __init__(self, is_transfer: bool = ..., last_log_index: _Optional[int] = ..., last_log_term: _Optional[int] = ...) -> None: ...

class VoteResponse(_message.Message):
    __slots__ = ("granted",)
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    granted: bool
    def __init__(self, granted: bool = ...) -> None: ...

class AppendRequest(_message.Message):
    __slots__ = ("previous_index", "previous_term", "entries", "commit_index", "sequence")
    PREVIOUS_INDEX_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_TERM_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    previous_index: int
    previous_term: int
    entries: _containers.RepeatedCompositeFieldContainer[RaftEntry]
    commit_index: int
    sequence: int
    def __init__(self, previous_index: _Optional[int] = ..., previous_term: _Optional[int] = ..., entries: _Optional[_Iterable[_Union[RaftEntry, _Mapping]]] = ..., commit_index: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class AppendResponse(_message.Message):
    __slots__ = ("success", "match_index", "conflict_index", "conflict_term", "sequence")
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    MATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_INDEX_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_TERM_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    success: bool
    match_index: int
    conflict_index: int
    conflict_term: int
    sequence: int
    def __init__(self, success: bool = ..., match_index: _Optional[int] = ..., conflict_index: _Optional[int] = ..., conflict_term: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class TimeoutNow(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SnapshotChunk(_message.Message):
    __slots__ = ("last_index", "last_term", "configuration", "total_bytes", "checksum", "offset", "data", "sequence")
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_TERM_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    last_index: int
    last_term: int
    configuration: bytes
    total_bytes: int
    checksum: int
    offset: int
    data: bytes
    sequence: int
    def __init__(self, last_index: _Optional[int] = ..., last_term: _Optional[int] = ..., configuration: _Optional[bytes] = ..., total_bytes: _Optional[int] = ..., checksum: _Optional[int] = ..., offset: _Optional[int] = ..., data: _Optional[bytes] = ..., sequence: _Optional[int] = ...) -> None: ...

class SnapshotResponse(_message.Message):
    __slots__ = ("last_index", "last_term", "next_offset", "sequence")
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_TERM_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    last_index: int
    last_term: int
    next_offset: int
    sequence: int
    def __init__(self, last_index: _Optional[int] = ..., last_term: _Optional[int] = ..., next_offset: _Optional[int] = ..., sequence: _Optional[int] = ...) -> None: ...

class ReadIndexRequest(_message.Message):
    __slots__ = ("context",)
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    context: int
    def __init__(self, context: _Optional[int] = ...) -> None: ...

class ReadIndexResponse(_message.Message):
    __slots__ = ("context", "index")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    context: int
    index: int
    def __init__(self, context: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...

class RaftMessage(_message.Message):
    __slots__ = ("term", "sender", "receiver", "pre_vote_request", "pre_vote_response", "vote_request", "vote_response", "append_request", "append_response", "timeout_now", "snapshot_chunk", "snapshot_response", "read_index_request", "read_index_response")
    TERM_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECEIVER_FIELD_NUMBER: _ClassVar[int]
    PRE_VOTE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    PRE_VOTE_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    VOTE_REQUEST_FIELD_NUMBER: _ClassVar[int]
    VOTE_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    APPEND_REQUEST_FIELD_NUMBER: _ClassVar[int]
    APPEND_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_NOW_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_CHUNK_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    READ_INDEX_REQUEST_FIELD_NUMBER: _ClassVar[int]
    READ_INDEX_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    term: int
    sender: int
    receiver: int
    pre_vote_request: PreVoteRequest
    pre_vote_response: PreVoteResponse
    vote_request: VoteRequest
    vote_response: VoteResponse
    append_request: AppendRequest
    append_response: AppendResponse
    timeout_now: TimeoutNow
    snapshot_chunk: SnapshotChunk
    snapshot_response: SnapshotResponse
    read_index_request: ReadIndexRequest
    read_index_response: ReadIndexResponse
    def __init__(self, term: _Optional[int] = ..., sender: _Optional[int] = ..., receiver: _Optional[int] = ..., pre_vote_request: _Optional[_Union[PreVoteRequest, _Mapping]] = ..., pre_vote_response: _Optional[_Union[PreVoteResponse, _Mapping]] = ..., vote_request: _Optional[_Union[VoteRequest, _Mapping]] = ..., vote_response: _Optional[_Union[VoteResponse, _Mapping]] = ..., append_request: _Optional[_Union[AppendRequest, _Mapping]] = ..., append_response: _Optional[_Union[AppendResponse, _Mapping]] = ..., timeout_now: _Optional[_Union[TimeoutNow, _Mapping]] = ..., snapshot_chunk: _Optional[_Union[SnapshotChunk, _Mapping]] = ..., snapshot_response: _Optional[_Union[SnapshotResponse, _Mapping]] = ..., read_index_request: _Optional[_Union[ReadIndexRequest, _Mapping]] = ..., read_index_response: _Optional[_Union[ReadIndexResponse, _Mapping]] = ...) -> None: ...

class RaftFrame(_message.Message):
    __slots__ = ("cluster_id", "messages")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    messages: _containers.RepeatedCompositeFieldContainer[RaftMessage]
    def __init__(self, cluster_id: _Optional[str] = ..., messages: _Optional[_Iterable[_Union[RaftMessage, _Mapping]]] = ...) -> None: ...

class RaftConfiguration(_message.Message):
    __slots__ = ("voters", "learners", "outgoing")
    VOTERS_FIELD_NUMBER: _ClassVar[int]
    LEARNERS_FIELD_NUMBER: _ClassVar[int]
    OUTGOING_FIELD_NUMBER: _ClassVar[int]
    voters: _containers.RepeatedScalarFieldContainer[int]
    learners: _containers.RepeatedScalarFieldContainer[int]
    outgoing: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, voters: _Optional[_Iterable[int]] = ..., learners: _Optional[_Iterable[int]] = ..., outgoing: _Optional[_Iterable[int]] = ...) -> None: ...

class ExchangeFrame(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExchangeHeader(_message.Message):
    __slots__ = ("cluster_id", "epoch", "attempt", "step", "sender", "receiver", "schema_digest", "codec", "start", "stop", "mass", "byte_count", "chunk_bytes", "plan_digest")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECEIVER_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    MASS_FIELD_NUMBER: _ClassVar[int]
    BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    epoch: int
    attempt: int
    step: int
    sender: int
    receiver: int
    schema_digest: bytes
    codec: str
    start: int
    stop: int
    mass: float
    byte_count: int
    chunk_bytes: int
    plan_digest: bytes
    def __init__(self, cluster_id: _Optional[str] = ..., epoch: _Optional[int] = ..., attempt: _Optional[int] = ..., step: _Optional[int] = ..., sender: _Optional[int] = ..., receiver: _Optional[int] = ..., schema_digest: _Optional[bytes] = ..., codec: _Optional[str] = ..., start: _Optional[int] = ..., stop: _Optional[int] = ..., mass: _Optional[float] = ..., byte_count: _Optional[int] = ..., chunk_bytes: _Optional[int] = ..., plan_digest: _Optional[bytes] = ...) -> None: ...

class ExchangeEnd(_message.Message):
    __slots__ = ("byte_count", "content_hash")
    BYTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONTENT_HASH_FIELD_NUMBER: _ClassVar[int]
    byte_count: int
    content_hash: bytes
    def __init__(self, byte_count: _Optional[int] = ..., content_hash: _Optional[bytes] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("start_run", "add_peer", "remove_peer", "open_epoch", "retry_exchange", "report_epoch", "close_epoch")
    START_RUN_FIELD_NUMBER: _ClassVar[int]
    ADD_PEER_FIELD_NUMBER: _ClassVar[int]
    REMOVE_PEER_FIELD_NUMBER: _ClassVar[int]
    OPEN_EPOCH_FIELD_NUMBER: _ClassVar[int]
    RETRY_EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    REPORT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CLOSE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    start_run: StartRun
    add_peer: AddPeer
    remove_peer: RemovePeer
    open_epoch: OpenEpoch
    retry_exchange: RetryExchange
    report_epoch: ReportEpoch
    close_epoch: CloseEpoch
    def __init__(self, start_run: _Optional[_Union[StartRun, _Mapping]] = ..., add_peer: _Optional[_Union[AddPeer, _Mapping]] = ..., remove_peer: _Optional[_Union[RemovePeer, _Mapping]] = ..., open_epoch: _Optional[_Union[OpenEpoch, _Mapping]] = ..., retry_exchange: _Optional[_Union[RetryExchange, _Mapping]] = ..., report_epoch: _Optional[_Union[ReportEpoch, _Mapping]] = ..., close_epoch: _Optional[_Union[CloseEpoch, _Mapping]] = ...) -> None: ...

class Envelope(_message.Message):
    __slots__ = ("client", "sequence", "first_unanswered", "command")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FIRST_UNANSWERED_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    client: str
    sequence: int
    first_unanswered: int
    command: Command
    def __init__(self, client: _Optional[str] = ..., sequence: _Optional[int] = ..., first_unanswered: _Optional[int] = ..., command: _Optional[_Union[Command, _Mapping]] = ...) -> None: ...

class RunSpecification(_message.Message):
    __slots__ = ("task", "algorithm", "topology", "num_epochs", "min_participants", "seed", "local_passes", "train_deadline_ms", "exchange_deadline_ms", "min_epoch_ms", "max_attempts", "schema_digest", "num_elements", "requires_token")
    TASK_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    TOPOLOGY_FIELD_NUMBER: _ClassVar[int]
    NUM_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    MIN_PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    LOCAL_PASSES_FIELD_NUMBER: _ClassVar[int]
    TRAIN_DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    MIN_EPOCH_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    NUM_ELEMENTS_FIELD_NUMBER: _ClassVar[int]
    REQUIRES_TOKEN_FIELD_NUMBER: _ClassVar[int]
    task: str
    algorithm: str
    topology: str
    num_epochs: int
    min_participants: int
    seed: int
    local_passes: int
    train_deadline_ms: int
    exchange_deadline_ms: int
    min_epoch_ms: int
    max_attempts: int
    schema_digest: bytes
    num_elements: int
    requires_token: bool
    def __init__(self, task: _Optional[str] = ..., algorithm: _Optional[str] = ..., topology: _Optional[str] = ..., num_epochs: _Optional[int] = ..., min_participants: _Optional[int] = ..., seed: _Optional[int] = ..., local_passes: _Optional[int] = ..., train_deadline_ms: _Optional[int] = ..., exchange_deadline_ms: _Optional[int] = ..., min_epoch_ms: _Optional[int] = ..., max_attempts: _Optional[int] = ..., schema_digest: _Optional[bytes] = ..., num_elements: _Optional[int] = ..., requires_token: bool = ...) -> None: ...

class StartRun(_message.Message):
    __slots__ = ("specification", "initial_digest")
    SPECIFICATION_FIELD_NUMBER: _ClassVar[int]
    INITIAL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    specification: RunSpecification
    initial_digest: bytes
    def __init__(self, specification: _Optional[_Union[RunSpecification, _Mapping]] = ..., initial_digest: _Optional[bytes] = ...) -> None: ...

class AddPeer(_message.Message):
    __slots__ = ("node_id", "host", "port", "incarnation", "metadata", "owner", "token_id", "token_expires_s")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_EXPIRES_S_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    host: str
    port: int
    incarnation: str
    metadata: _containers.ScalarMap[str, str]
    owner: str
    token_id: str
    token_expires_s: int
    def __init__(self, node_id: _Optional[int] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., incarnation: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., owner: _Optional[str] = ..., token_id: _Optional[str] = ..., token_expires_s: _Optional[int] = ...) -> None: ...

class RemovePeer(_message.Message):
    __slots__ = ("node_id",)
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    def __init__(self, node_id: _Optional[int] = ...) -> None: ...

class OpenEpoch(_message.Message):
    __slots__ = ("epoch", "participants", "plan_digest", "leader", "exact")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    participants: _containers.RepeatedScalarFieldContainer[int]
    plan_digest: bytes
    leader: int
    exact: bool
    def __init__(self, epoch: _Optional[int] = ..., participants: _Optional[_Iterable[int]] = ..., plan_digest: _Optional[bytes] = ..., leader: _Optional[int] = ..., exact: bool = ...) -> None: ...

class RetryExchange(_message.Message):
    __slots__ = ("epoch", "attempt", "participants", "plan_digest", "exact")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    attempt: int
    participants: _containers.RepeatedScalarFieldContainer[int]
    plan_digest: bytes
    exact: bool
    def __init__(self, epoch: _Optional[int] = ..., attempt: _Optional[int] = ..., participants: _Optional[_Iterable[int]] = ..., plan_digest: _Optional[bytes] = ..., exact: bool = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class LinkBytes(_message.Message):
    __slots__ = ("node_id", "sent", "received")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    sent: int
    received: int
    def __init__(self, node_id: _Optional[int] = ..., sent: _Optional[int] = ..., received: _Optional[int] = ...) -> None: ...

class FailedEdge(_message.Message):
    __slots__ = ("node_id", "reason", "refused")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    reason: str
    refused: bool
    def __init__(self, node_id: _Optional[int] = ..., reason: _Optional[str] = ..., refused: bool = ...) -> None: ...

class ReportEpoch(_message.Message):
    __slots__ = ("epoch", "attempt", "node_id", "digest", "num_samples", "metrics", "links", "failed_edges", "error")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NUM_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    FAILED_EDGES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    attempt: int
    node_id: int
    digest: bytes
    num_samples: int
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    links: _containers.RepeatedCompositeFieldContainer[LinkBytes]
    failed_edges: _containers.RepeatedCompositeFieldContainer[FailedEdge]
    error: str
    def __init__(self, epoch: _Optional[int] = ..., attempt: _Optional[int] = ..., node_id: _Optional[int] = ..., digest: _Optional[bytes] = ..., num_samples: _Optional[int] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., links: _Optional[_Iterable[_Union[LinkBytes, _Mapping]]] = ..., failed_edges: _Optional[_Iterable[_Union[FailedEdge, _Mapping]]] = ..., error: _Optional[str] = ...) -> None: ...

class CloseEpoch(_message.Message):
    __slots__ = ("epoch", "attempt", "outcome", "reason", "leader", "closed_at_ms")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    CLOSED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    attempt: int
    outcome: str
    reason: str
    leader: int
    closed_at_ms: int
    def __init__(self, epoch: _Optional[int] = ..., attempt: _Optional[int] = ..., outcome: _Optional[str] = ..., reason: _Optional[str] = ..., leader: _Optional[int] = ..., closed_at_ms: _Optional[int] = ...) -> None: ...

class EpochRecord(_message.Message):
    __slots__ = ("epoch", "attempt", "outcome", "participants", "contributors", "model_digest", "metrics", "digests", "bytes_sent", "leader", "closed_at_ms", "reason", "log_index")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTORS_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    CLOSED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LOG_INDEX_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    attempt: int
    outcome: str
    participants: _containers.RepeatedScalarFieldContainer[int]
    contributors: _containers.RepeatedScalarFieldContainer[int]
    model_digest: bytes
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    digests: _containers.RepeatedCompositeFieldContainer[NodeDigest]
    bytes_sent: int
    leader: int
    closed_at_ms: int
    reason: str
    log_index: int
    def __init__(self, epoch: _Optional[int] = ..., attempt: _Optional[int] = ..., outcome: _Optional[str] = ..., participants: _Optional[_Iterable[int]] = ..., contributors: _Optional[_Iterable[int]] = ..., model_digest: _Optional[bytes] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., digests: _Optional[_Iterable[_Union[NodeDigest, _Mapping]]] = ..., bytes_sent: _Optional[int] = ..., leader: _Optional[int] = ..., closed_at_ms: _Optional[int] = ..., reason: _Optional[str] = ..., log_index: _Optional[int] = ...) -> None: ...

class NodeDigest(_message.Message):
    __slots__ = ("node_id", "digest")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    digest: bytes
    def __init__(self, node_id: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class LedgerSnapshot(_message.Message):
    __slots__ = ("version", "applied_index", "specification", "initial_digest", "roster", "departed", "open_epoch", "records", "sessions", "used_tokens")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    SPECIFICATION_FIELD_NUMBER: _ClassVar[int]
    INITIAL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    DEPARTED_FIELD_NUMBER: _ClassVar[int]
    OPEN_EPOCH_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    USED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    version: int
    applied_index: int
    specification: RunSpecification
    initial_digest: bytes
    roster: _containers.RepeatedCompositeFieldContainer[RosterPeer]
    departed: _containers.RepeatedCompositeFieldContainer[DepartedPeer]
    open_epoch: OpenEpochSnapshot
    records: _containers.RepeatedScalarFieldContainer[bytes]
    sessions: _containers.RepeatedCompositeFieldContainer[ClientSession]
    used_tokens: _containers.RepeatedCompositeFieldContainer[UsedToken]
    def __init__(self, version: _Optional[int] = ..., applied_index: _Optional[int] = ..., specification: _Optional[_Union[RunSpecification, _Mapping]] = ..., initial_digest: _Optional[bytes] = ..., roster: _Optional[_Iterable[_Union[RosterPeer, _Mapping]]] = ..., departed: _Optional[_Iterable[_Union[DepartedPeer, _Mapping]]] = ..., open_epoch: _Optional[_Union[OpenEpochSnapshot, _Mapping]] = ..., records: _Optional[_Iterable[bytes]] = ..., sessions: _Optional[_Iterable[_Union[ClientSession, _Mapping]]] = ..., used_tokens: _Optional[_Iterable[_Union[UsedToken, _Mapping]]] = ...) -> None: ...

class UsedToken(_message.Message):
    __slots__ = ("token_id", "expires_s")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_S_FIELD_NUMBER: _ClassVar[int]
    token_id: str
    expires_s: int
    def __init__(self, token_id: _Optional[str] = ..., expires_s: _Optional[int] = ...) -> None: ...

class RosterPeer(_message.Message):
    __slots__ = ("node_id", "host", "port", "incarnation", "metadata", "owner")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    host: str
    port: int
    incarnation: str
    metadata: _containers.RepeatedCompositeFieldContainer[NamedText]
    owner: str
    def __init__(self, node_id: _Optional[int] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., incarnation: _Optional[str] = ..., metadata: _Optional[_Iterable[_Union[NamedText, _Mapping]]] = ..., owner: _Optional[str] = ...) -> None: ...

class NamedText(_message.Message):
    __slots__ = ("name", "text")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class DepartedPeer(_message.Message):
    __slots__ = ("node_id", "owner")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    owner: str
    def __init__(self, node_id: _Optional[int] = ..., owner: _Optional[str] = ...) -> None: ...

class OpenEpochSnapshot(_message.Message):
    __slots__ = ("epoch", "attempt", "first_participants", "participants", "plan_digest", "leader", "reports", "bytes_sent", "exact", "lost", "repeated_whole")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    FIRST_PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    REPEATED_WHOLE_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    attempt: int
    first_participants: _containers.RepeatedScalarFieldContainer[int]
    participants: _containers.RepeatedScalarFieldContainer[int]
    plan_digest: bytes
    leader: int
    reports: _containers.RepeatedCompositeFieldContainer[ReportEpoch]
    bytes_sent: int
    exact: bool
    lost: _containers.RepeatedScalarFieldContainer[int]
    repeated_whole: bool
    def __init__(self, epoch: _Optional[int] = ..., attempt: _Optional[int] = ..., first_participants: _Optional[_Iterable[int]] = ..., participants: _Optional[_Iterable[int]] = ..., plan_digest: _Optional[bytes] = ..., leader: _Optional[int] = ..., reports: _Optional[_Iterable[_Union[ReportEpoch, _Mapping]]] = ..., bytes_sent: _Optional[int] = ..., exact: bool = ..., lost: _Optional[_Iterable[int]] = ..., repeated_whole: bool = ...) -> None: ...

class EndedEpoch(_message.Message):
    __slots__ = ("record", "same_digests")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    SAME_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    record: EpochRecord
    same_digests: bool
    def __init__(self, record: _Optional[_Union[EpochRecord, _Mapping]] = ..., same_digests: bool = ...) -> None: ...

class ClientSession(_message.Message):
    __slots__ = ("client", "floor", "answers")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    client: str
    floor: int
    answers: _containers.RepeatedCompositeFieldContainer[RememberedAnswer]
    def __init__(self, client: _Optional[str] = ..., floor: _Optional[int] = ..., answers: _Optional[_Iterable[_Union[RememberedAnswer, _Mapping]]] = ...) -> None: ...

class RememberedAnswer(_message.Message):
    __slots__ = ("sequence", "accepted", "reason")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    accepted: bool
    reason: str
    def __init__(self, sequence: _Optional[int] = ..., accepted: bool = ..., reason: _Optional[str] = ...) -> None: ...

class ProposeRequest(_message.Message):
    __slots__ = ("cluster_id", "envelope", "forwarded")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    FORWARDED_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    envelope: bytes
    forwarded: bool
    def __init__(self, cluster_id: _Optional[str] = ..., envelope: _Optional[bytes] = ..., forwarded: bool = ...) -> None: ...

class ProposeResponse(_message.Message):
    __slots__ = ("index", "applied", "reason")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    index: int
    applied: bool
    reason: str
    def __init__(self, index: _Optional[int] = ..., applied: bool = ..., reason: _Optional[str] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("node_id", "host", "port", "incarnation", "schema_digest", "task", "cluster_id", "metadata", "owner", "forwarded", "join_token")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    FORWARDED_FIELD_NUMBER: _ClassVar[int]
    JOIN_TOKEN_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    host: str
    port: int
    incarnation: str
    schema_digest: bytes
    task: str
    cluster_id: str
    metadata: _containers.ScalarMap[str, str]
    owner: str
    forwarded: bool
    join_token: str
    def __init__(self, node_id: _Optional[int] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., incarnation: _Optional[str] = ..., schema_digest: _Optional[bytes] = ..., task: _Optional[str] = ..., cluster_id: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., owner: _Optional[str] = ..., forwarded: bool = ..., join_token: _Optional[str] = ...) -> None: ...

class PeerAddress(_message.Message):
    __slots__ = ("node_id", "host", "port", "identity")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    host: str
    port: int
    identity: str
    def __init__(self, node_id: _Optional[int] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., identity: _Optional[str] = ...) -> None: ...

class JoinResponse(_message.Message):
    __slots__ = ("cluster_id", "peers", "leader", "specification")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    SPECIFICATION_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    peers: _containers.RepeatedCompositeFieldContainer[PeerAddress]
    leader: int
    specification: RunSpecification
    def __init__(self, cluster_id: _Optional[str] = ..., peers: _Optional[_Iterable[_Union[PeerAddress, _Mapping]]] = ..., leader: _Optional[int] = ..., specification: _Optional[_Union[RunSpecification, _Mapping]] = ...) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ("cluster_id",)
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    def __init__(self, cluster_id: _Optional[str] = ...) -> None: ...

class LeaveResponse(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class FetchModelRequest(_message.Message):
    __slots__ = ("cluster_id", "digest", "offset")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    digest: bytes
    offset: int
    def __init__(self, cluster_id: _Optional[str] = ..., digest: _Optional[bytes] = ..., offset: _Optional[int] = ...) -> None: ...

class ModelChunk(_message.Message):
    __slots__ = ("offset", "total_bytes", "data")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    offset: int
    total_bytes: int
    data: bytes
    def __init__(self, offset: _Optional[int] = ..., total_bytes: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class FetchEpochsRequest(_message.Message):
    __slots__ = ("first_epoch", "limit", "linearizable")
    FIRST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    LINEARIZABLE_FIELD_NUMBER: _ClassVar[int]
    first_epoch: int
    limit: int
    linearizable: bool
    def __init__(self, first_epoch: _Optional[int] = ..., limit: _Optional[int] = ..., linearizable: bool = ...) -> None: ...

class FetchEpochsResponse(_message.Message):
    __slots__ = ("epochs", "last_epoch")
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    LAST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    epochs: _containers.RepeatedCompositeFieldContainer[EpochRecord]
    last_epoch: int
    def __init__(self, epochs: _Optional[_Iterable[_Union[EpochRecord, _Mapping]]] = ..., last_epoch: _Optional[int] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("linearizable",)
    LINEARIZABLE_FIELD_NUMBER: _ClassVar[int]
    linearizable: bool
    def __init__(self, linearizable: bool = ...) -> None: ...

class PeerStatus(_message.Message):
    __slots__ = ("node_id", "host", "port", "role", "responsive", "match_index", "incarnation", "metadata", "flow", "identity")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    RESPONSIVE_FIELD_NUMBER: _ClassVar[int]
    MATCH_INDEX_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    node_id: int
    host: str
    port: int
    role: str
    responsive: bool
    match_index: int
    incarnation: str
    metadata: _containers.ScalarMap[str, str]
    flow: str
    identity: str
    def __init__(self, node_id: _Optional[int] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., role: _Optional[str] = ..., responsive: bool = ..., match_index: _Optional[int] = ..., incarnation: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., flow: _Optional[str] = ..., identity: _Optional[str] = ...) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("cluster_id", "node_id", "role", "term", "leader", "commit_index", "applied_index", "last_index", "peers", "specification", "open_epoch", "open_attempt", "open_participants", "last_closed_epoch", "model_digest", "version", "phase", "metrics", "message", "uptime_ms", "run_finished", "first_index", "snapshot_index", "outgoing")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    SPECIFICATION_FIELD_NUMBER: _ClassVar[int]
    OPEN_EPOCH_FIELD_NUMBER: _ClassVar[int]
    OPEN_ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    OPEN_PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    LAST_CLOSED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    UPTIME_MS_FIELD_NUMBER: _ClassVar[int]
    RUN_FINISHED_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_INDEX_FIELD_NUMBER: _ClassVar[int]
    OUTGOING_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    node_id: int
    role: str
    term: int
    leader: int
    commit_index: int
    applied_index: int
    last_index: int
    peers: _containers.RepeatedCompositeFieldContainer[PeerStatus]
    specification: RunSpecification
    open_epoch: int
    open_attempt: int
    open_participants: _containers.RepeatedScalarFieldContainer[int]
    last_closed_epoch: int
    model_digest: bytes
    version: str
    phase: str
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    message: str
    uptime_ms: int
    run_finished: bool
    first_index: int
    snapshot_index: int
    outgoing: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, cluster_id: _Optional[str] = ..., node_id: _Optional[int] = ..., role: _Optional[str] = ..., term: _Optional[int] = ..., leader: _Optional[int] = ..., commit_index: _Optional[int] = ..., applied_index: _Optional[int] = ..., last_index: _Optional[int] = ..., peers: _Optional[_Iterable[_Union[PeerStatus, _Mapping]]] = ..., specification: _Optional[_Union[RunSpecification, _Mapping]] = ..., open_epoch: _Optional[int] = ..., open_attempt: _Optional[int] = ..., open_participants: _Optional[_Iterable[int]] = ..., last_closed_epoch: _Optional[int] = ..., model_digest: _Optional[bytes] = ..., version: _Optional[str] = ..., phase: _Optional[str] = ..., metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ..., message: _Optional[str] = ..., uptime_ms: _Optional[int] = ..., run_finished: bool = ..., first_index: _Optional[int] = ..., snapshot_index: _Optional[int] = ..., outgoing: _Optional[_Iterable[int]] = ...) -> None: ...

class FetchLogRequest(_message.Message):
    __slots__ = ("first_index", "limit")
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    first_index: int
    limit: int
    def __init__(self, first_index: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class LogEntryInfo(_message.Message):
    __slots__ = ("index", "term", "kind", "data_bytes", "applied_at_ms", "summary")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    DATA_BYTES_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    index: int
    term: int
    kind: str
    data_bytes: int
    applied_at_ms: int
    summary: str
    def __init__(self, index: _Optional[int] = ..., term: _Optional[int] = ..., kind: _Optional[str] = ..., data_bytes: _Optional[int] = ..., applied_at_ms: _Optional[int] = ..., summary: _Optional[str] = ...) -> None: ...

class FetchLogResponse(_message.Message):
    __slots__ = ("entries", "first_index", "last_index", "commit_index", "applied_index")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    FIRST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LAST_INDEX_FIELD_NUMBER: _ClassVar[int]
    COMMIT_INDEX_FIELD_NUMBER: _ClassVar[int]
    APPLIED_INDEX_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[LogEntryInfo]
    first_index: int
    last_index: int
    commit_index: int
    applied_index: int
    def __init__(self, entries: _Optional[_Iterable[_Union[LogEntryInfo, _Mapping]]] = ..., first_index: _Optional[int] = ..., last_index: _Optional[int] = ..., commit_index: _Optional[int] = ..., applied_index: _Optional[int] = ...) -> None: ...

class ChangeMembersRequest(_message.Message):
    __slots__ = ("cluster_id", "action", "node_id", "host", "port")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    action: str
    node_id: int
    host: str
    port: int
    def __init__(self, cluster_id: _Optional[str] = ..., action: _Optional[str] = ..., node_id: _Optional[int] = ..., host: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class ChangeMembersResponse(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class TransferLeadershipRequest(_message.Message):
    __slots__ = ("cluster_id", "target")
    CLUSTER_ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    cluster_id: str
    target: int
    def __init__(self, cluster_id: _Optional[str] = ..., target: _Optional[int] = ...) -> None: ...

class TransferLeadershipResponse(_message.Message):
    __slots__ = ("leader", "term")
    LEADER_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    leader: int
    term: int
    def __init__(self, leader: _Optional[int] = ..., term: _Optional[int] = ...) -> None: ...
