"""The frozen types that flow from experiment file to report; nothing here does any work.

Units are in the names (`t_ns`, `memory_mib`, `size_bytes`) or in a `Metric` row.
Every type decodes strictly: an unknown field is an error, never ignored.
"""

from guestbench.model.base import GIB, KIB, MIB, Frozen, Say, Unknown
from guestbench.model.budget import Budget
from guestbench.model.calibration import KnownRatio, Recovery, Told
from guestbench.model.commit import Commit
from guestbench.model.comparison import Beside, Comparison, Gain, Judgement, Method, Ruling, Verdict
from guestbench.model.experiment import (
    REPLAYING_VMM,
    Accel,
    Claim,
    Experiment,
    Net,
    Platform,
    Step,
    Tables,
    find_settings,
    to_table,
)
from guestbench.model.family import Family, Purpose
from guestbench.model.left import ToCome
from guestbench.model.plan import GIVEN_WORK, Batch, Needs, Start, Wanted
from guestbench.model.record import (
    FIRST_BYTE,
    FORMAT_VERSION,
    NOT_OF_GUEST,
    READY,
    Better,
    Conditions,
    Crashed,
    Gap,
    Incomplete,
    Key,
    LabelSet,
    Mark,
    Metric,
    NotMade,
    Ok,
    Outcome,
    Provenance,
    Record,
    Sample,
    Series,
    TimedOut,
    Trial,
    TrialResult,
    Unsupported,
    VmmFailed,
    Wrong,
    to_key,
)
from guestbench.model.run import (
    Absent,
    AccelChoice,
    CpuPolicy,
    Header,
    Host,
    Job,
    MemoryPolicy,
    OpenShell,
    Resume,
    State,
)
from guestbench.model.stopping import Goal, Look, Looks, StopRule
from guestbench.model.summary import Interval, Summary
from guestbench.model.system import (
    Boot,
    BootWork,
    Command,
    Disk,
    DiskFormat,
    FailurePattern,
    Fetch,
    Guest,
    GuestFamily,
    Image,
    ImageWork,
    Kernel,
    Layer,
    Load,
    Login,
    MemoryReport,
    Milestone,
    Origin,
    OwnWork,
    ProgramLoad,
    Provision,
    Role,
    Service,
    ShellWork,
    System,
    Wait,
    Work,
)
from guestbench.model.work import SERVER, TOOL_DRIVERS, Inspector, Kit, KitWork, Workload, WorkReport
