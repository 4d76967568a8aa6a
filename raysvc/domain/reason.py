"""Why a record is in its phase. Few phases, many reasons: this table is the only place that knows what they mean."""

from enum import StrEnum
from typing import NamedTuple

from raysvc.domain.model import Model


class Fault(StrEnum):
    """Whose doing it is; retries are granted by it."""

    NOBODY = "nobody"
    USER = "user"
    INFRASTRUCTURE = "infrastructure"
    PLATFORM_RULES = "rules"


class ReasonCode(StrEnum):
    # QUEUED
    WAITING = "WAITING"
    CLUSTER_BUSY = "CLUSTER_BUSY"
    CLUSTER_NOT_READY = "CLUSTER_NOT_READY"
    PROJECT_LIMIT = "PROJECT_LIMIT"
    INSUFFICIENT_RESOURCES = "INSUFFICIENT_RESOURCES"
    EXCEEDS_CAPACITY = "EXCEEDS_CAPACITY"
    LOW_MEMORY = "LOW_MEMORY"
    ADMISSION_PAUSED = "ADMISSION_PAUSED"
    BACKOFF = "BACKOFF"
    # STARTING, RUNNING, STOPPING
    SUBMITTING = "SUBMITTING"
    PROVISIONING = "PROVISIONING"
    IMAGE_PULL_FAILED = "IMAGE_PULL_FAILED"
    UNSCHEDULABLE = "UNSCHEDULABLE"
    PODS_REFUSED = "PODS_REFUSED"
    POD_FAILED = "POD_FAILED"
    NODE_LOST = "NODE_LOST"
    STARTING_ON_RAY = "STARTING_ON_RAY"
    RUNNING = "RUNNING"
    CLUSTER_UNREACHABLE = "CLUSTER_UNREACHABLE"
    STOP_REQUESTED = "STOP_REQUESTED"
    # ends
    SUCCEEDED = "SUCCEEDED"
    STOPPED = "STOPPED"
    TIMED_OUT = "TIMED_OUT"
    ENTRYPOINT_FAILED = "ENTRYPOINT_FAILED"
    ENTRYPOINT_NOT_FOUND = "ENTRYPOINT_NOT_FOUND"
    RUNTIME_ENV_FAILED = "RUNTIME_ENV_FAILED"
    BACKEND_REFUSED = "BACKEND_REFUSED"
    SECRET_MISSING = "SECRET_MISSING"  # noqa: S105 a reason, not a password
    PACKAGE_MISSING = "PACKAGE_MISSING"
    PACKAGE_DAMAGED = "PACKAGE_DAMAGED"
    START_TIMED_OUT = "START_TIMED_OUT"
    DRIVER_LOST = "DRIVER_LOST"
    CLUSTER_LOST = "CLUSTER_LOST"
    # clusters that jobs share
    CLUSTER_READY = "CLUSTER_READY"
    CLUSTER_IDLE = "CLUSTER_IDLE"
    CLUSTER_REFUSED = "CLUSTER_REFUSED"
    CLUSTER_DELETED = "CLUSTER_DELETED"
    # services
    SERVICE_ACCEPTED = "SERVICE_ACCEPTED"
    DEPLOYING = "DEPLOYING"
    WAITING_FOR_REPLICAS = "WAITING_FOR_REPLICAS"
    SERVING = "SERVING"
    SCALED_TO_ZERO = "SCALED_TO_ZERO"
    REPLICAS_MISSING = "REPLICAS_MISSING"
    ROLLED_BACK = "ROLLED_BACK"
    ENGINE_FAILED = "ENGINE_FAILED"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    REPLICAS_LATE = "REPLICAS_LATE"
    SERVICE_REFUSED = "SERVICE_REFUSED"
    SERVICE_DELETED = "SERVICE_DELETED"


class ReasonRow(NamedTuple):
    title: str
    fault: Fault


_N, _U, _I, _R = Fault.NOBODY, Fault.USER, Fault.INFRASTRUCTURE, Fault.PLATFORM_RULES
_C = ReasonCode
TABLE: dict[ReasonCode, ReasonRow] = {
    _C.WAITING: ReasonRow("Waiting in the queue", _N),
    _C.CLUSTER_BUSY: ReasonRow("The cluster runs as many jobs as it may", _N),
    _C.CLUSTER_NOT_READY: ReasonRow("The cluster is not ready", _I),
    _C.PROJECT_LIMIT: ReasonRow("The project is at its limit", _R),
    _C.INSUFFICIENT_RESOURCES: ReasonRow("Waiting for resources", _N),
    _C.EXCEEDS_CAPACITY: ReasonRow("Asks for more than the cluster has", _U),
    _C.LOW_MEMORY: ReasonRow("The head node is short of memory", _I),
    _C.ADMISSION_PAUSED: ReasonRow("Admission is paused", _R),
    _C.BACKOFF: ReasonRow("Waiting before the next attempt", _I),
    _C.SUBMITTING: ReasonRow("Being handed to Ray", _N),
    _C.PROVISIONING: ReasonRow("Its cluster is being made", _N),
    _C.IMAGE_PULL_FAILED: ReasonRow("The image of its cluster cannot be pulled", _U),
    _C.UNSCHEDULABLE: ReasonRow("No node has room for a pod of its cluster", _I),
    _C.PODS_REFUSED: ReasonRow("Kubernetes refuses the pods of its cluster", _R),
    _C.POD_FAILED: ReasonRow("A pod of its cluster cannot start", _I),
    _C.NODE_LOST: ReasonRow("A node of its cluster is lost", _I),
    _C.STARTING_ON_RAY: ReasonRow("Ray is starting it", _N),
    _C.RUNNING: ReasonRow("Running", _N),
    _C.CLUSTER_UNREACHABLE: ReasonRow("The cluster does not answer", _I),
    _C.STOP_REQUESTED: ReasonRow("A stop was asked for", _N),
    _C.SUCCEEDED: ReasonRow("Finished successfully", _N),
    _C.STOPPED: ReasonRow("Stopped on request", _N),
    _C.TIMED_OUT: ReasonRow("Ran longer than its timeout", _R),
    _C.ENTRYPOINT_FAILED: ReasonRow("The entrypoint failed", _U),
    _C.ENTRYPOINT_NOT_FOUND: ReasonRow("The entrypoint does not exist", _U),
    _C.RUNTIME_ENV_FAILED: ReasonRow("The runtime environment could not be built", _U),
    _C.BACKEND_REFUSED: ReasonRow("Ray refused the job", _U),
    _C.SECRET_MISSING: ReasonRow("A secret it names is gone", _U),
    _C.PACKAGE_MISSING: ReasonRow("A package it names is gone", _I),
    _C.PACKAGE_DAMAGED: ReasonRow("A package it names is damaged", _I),
    _C.START_TIMED_OUT: ReasonRow("Did not start in time", _I),
    _C.DRIVER_LOST: ReasonRow("The driver died with its node or supervisor", _I),
    _C.CLUSTER_LOST: ReasonRow("The cluster was lost while it ran", _I),
    _C.CLUSTER_READY: ReasonRow("Ready for jobs", _N),
    _C.CLUSTER_IDLE: ReasonRow("Nobody used it", _N),
    _C.CLUSTER_REFUSED: ReasonRow("The backend refuses it", _U),
    _C.CLUSTER_DELETED: ReasonRow("Deleted", _N),
    _C.SERVICE_ACCEPTED: ReasonRow("Accepted", _N),
    _C.DEPLOYING: ReasonRow("Its replicas are being started", _N),
    _C.WAITING_FOR_REPLICAS: ReasonRow("Waiting for replicas to be ready", _N),
    _C.SERVING: ReasonRow("Serving", _N),
    _C.SCALED_TO_ZERO: ReasonRow("Scaled to zero", _N),
    _C.REPLICAS_MISSING: ReasonRow("Fewer replicas are ready than it needs", _I),
    _C.ROLLED_BACK: ReasonRow("A newer revision failed, and the one before serves", _U),
    _C.ENGINE_FAILED: ReasonRow("The engine did not start", _U),
    _C.OUT_OF_MEMORY: ReasonRow("The engine has too little memory", _U),
    _C.MODEL_NOT_FOUND: ReasonRow("The model cannot be found", _U),
    _C.REPLICAS_LATE: ReasonRow("Its replicas were not ready in time", _I),
    _C.SERVICE_REFUSED: ReasonRow("The backend refuses it", _U),
    _C.SERVICE_DELETED: ReasonRow("Deleted", _N),
}


class Reason(Model):
    """A code that programs switch on, its title, and a sentence with the particulars."""

    code: ReasonCode
    title: str
    message: str = ""

    @property
    def fault(self) -> Fault:
        return TABLE[self.code].fault


def reason(code: ReasonCode, message: str = "") -> Reason:
    """Return the reason of that code with its title from the table."""
    return Reason(code=code, title=TABLE[code].title, message=message)
