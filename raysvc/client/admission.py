"""Whether queued jobs may start."""

from raysvc.client.wire import Call, Wire, read
from raysvc.control.floor import AdmissionState


class Admission:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def status(self) -> AdmissionState:
        return read(AdmissionState, self._wire.send(Call("GET", "/v1/admission")))

    def pause(self, message: str = "") -> AdmissionState:
        """Let no queued job start until `resume`; submits are still taken. `message` is shown to those who wait."""
        return read(AdmissionState, self._wire.send(self.pausing(message)))

    def pausing(self, message: str = "") -> Call:
        """Return the call that `pause` sends."""
        return Call("POST", "/v1/admission/pause", json={"message": message}, safe=True)

    def resume(self) -> AdmissionState:
        """Let queued jobs start again. May be repeated."""
        return read(AdmissionState, self._wire.send(self.resuming()))

    def resuming(self) -> Call:
        """Return the call that `resume` sends."""
        return Call("POST", "/v1/admission/resume", safe=True)
