"""What may differ between a recording and our answer: rules, each with its reason.

The recordings come from v1.20.2 (and, for custom resources, v1.36); we serve v1.36. Where the newer version
documents another behaviour, ours is right and the difference is expected. A rule names the difference it
explains as narrowly as the change was: which field, which message, which request. What is ours to explain,
because we differ from v1.36 on purpose, is `DELIBERATE` and stands in docs/limits.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tests.golden.align import is_old
from tests.golden.compare import MISSING, Difference

ADDED_SINCE: tuple[tuple[str, str], ...] = (
    (r"\.spec\.(ipFamilies|ipFamilyPolicy)", "dual-stack Services, v1.23"),
    (r"\.spec\.internalTrafficPolicy", "v1.26"),
    (r"\.spec\.allocateLoadBalancerNodePorts", "v1.24"),
    (r"\.status\.loadBalancer\.ingress\[\d+\]\.ipMode$", "addresses of load balancers have a mode, v1.32"),
    (r"\.spec\.externalTrafficPolicy$", "Services with external IPs are reachable from outside, too, v1.27"),
    (r"\.f:spec\.f:externalTrafficPolicy$", "Services with external IPs are reachable from outside, too, v1.27"),
    (r"\.spec\.(completionMode|suspend|podReplacementPolicy|manualSelector)$", "Job fields, v1.24 to v1.34"),
    (r"\.spec\.jobTemplate\.spec\.(completionMode|suspend|podReplacementPolicy)$", "Job fields, v1.24 to v1.34"),
    (r"\.spec\.ttlSecondsAfterFinished$", "alpha in v1.20, v1.23"),
    (r"\.batch\.kubernetes\.io/(job-name|controller-uid)$", "labels of Jobs with the group's prefix, v1.27"),
    (r"\.spec\.persistentVolumeClaimRetentionPolicy", "v1.32"),
    (r"rollingUpdate\.(f:)?maxSurge$", "surge of DaemonSets, v1.25"),
    (r"\.spec\.updateStrategy\.rollingUpdate\.maxUnavailable$", "StatefulSets roll several pods at once, v1.35"),
    (r"f:rollingUpdate\.f:maxUnavailable$", "StatefulSets roll several pods at once, v1.35"),
    (r"\.status\.availableReplicas$", "available replicas of StatefulSets, v1.25"),
    (r"\.metadata\.labels(\.kubernetes\.io/metadata\.name)?$", "every namespace carries its name as a label, v1.21"),
    (r"\.metadata\.generation$", "pods and others have a generation, v1.33 to v1.35"),
    (r"\.observedGeneration$", "pod conditions, v1.33 to v1.35"),
    (r"^\.body\.metadata\.(name|namespace)$", "a TokenRequest names its account, v1.22"),
    (r"^\.body\.metadata\.uid$", "and its uid, v1.34"),
    (r"\.status\.user\.extra$", "the credential's id, v1.32"),
    (r"\.spec\.(volumeMode|resizePolicy|hostUsers)$", "newer defaults"),
    (r"\.spec\.(storageCapacity|requiresRepublish|seLinuxMount)$", "defaults of CSIDriver, v1.22 to v1.36"),
    (r"\.spec\.dataSourceRef$", "the same as dataSource, v1.24"),
    (r"\.status\.qosClass$", "a status update cannot drop the quality of service, v1.32"),
    (r"parameters\.(f:)?scope$", "parameters of an IngressClass may be in a namespace, v1.23"),
    (r"\.columnDefinitions\.VolumeAttributesClass$", "v1.29"),
    (r"\.cells\.VolumeAttributesClass$", "v1.29"),
    (r"\.(columnDefinitions|cells)\.(StorageCapacity|TokenRequests|RequiresRepublish)$", "columns of CSIDriver, v1.22"),
    (r"\.(columnDefinitions|cells)\.PreemptionPolicy$", "column of PriorityClass, v1.31"),
    (r"\.(columnDefinitions|cells)\.Status$", "the status of a Job, v1.30"),
    (r"^\.body\.metadata\.managedFields$", "the fields of APIServices are owned, v1.22"),
    (r"^\.body\.(emulation|minCompatibility)(Major|Minor)$", "compatibility versions, v1.32"),
    (r"\.spec\.volumes\[\d\]\.projected$", "tokens of pods are projected, v1.22"),
    (r"\.((f:)?(nominalConcurrencyShares|lendablePercent)|NominalConcurrencyShares)$", "v1.26"),
    (r"^\.headers\.warning$", "deprecated, unknown and duplicate fields are warned about, v1.22 to v1.36"),
)
"""Fields that ours has and a v1.20 recording cannot have."""

OWNED_SINCE: tuple[tuple[str, str], ...] = (
    (r"\.f:(nodeSelector|selector)(\.|$)", "selectors of pods are atomic maps, v1.21"),
    (r"\.f:(roleRef|fieldRef|secretKeyRef|configMapKeyRef|resourceFieldRef|dataSource)\.", "atomic references, v1.21"),
    (r"\.f:(imagePullSecrets|secrets|ownerReferences)\.k:[^.]*\.", "items that are references are atomic, v1.21"),
    (r"\.f:(scopeSelector|requiredDuringSchedulingIgnoredDuringExecution)\.", "atomic selectors, v1.21"),
    (r"\.f:service\.f:port\.", "ports of backends are atomic, v1.30"),
    (r"\.f:metadata\.f:creationTimestamp$", "an unset creationTimestamp is no longer encoded as null, v1.35"),
    (r"\.f:emptyDir$", "applying an empty struct owns it"),
    (
        r"\.f:(ipFamilies|ipFamilyPolicy|internalTrafficPolicy|allocateLoadBalancerNodePorts|completionMode|suspend"
        r"|podReplacementPolicy|manualSelector|persistentVolumeClaimRetentionPolicy|storageCapacity|seLinuxMount"
        r"|requiresRepublish|kubernetes\.io/metadata\.name)(\.|$)",
        "fields that a v1.20 recording cannot have",
    ),
)
"""Parts of managedFields that differ from a v1.20 recording."""

REPLACED: tuple[tuple[str, Any, Any, str], ...] = (
    (r"^\.body\.(minor|gitVersion)$", r"20|v1\.20\.2", r"36|v1\.36\..*", "the version itself"),
    (r"\.columnDefinitions\.Restarts\.type$", "integer", "string", "restarts tell when, v1.22"),
    (r"\.cells\.Restarts$", r"\d+", r"GIVEN( \(.*\))?", "restarts tell when, v1.22"),
    (
        r"\.cells\.Selector$",
        r"controller-uid=(.*)",
        r"batch\.kubernetes\.io/controller-uid=.*",
        "labels of Jobs, v1.27",
    ),
    (r"\.columnDefinitions\.[^.]*\.description$", r".*", r".*", "texts of the documentation"),
    (r"\.preferredVersion\.(groupVersion|version)$", r".*", r"(.*/)?v\d+", "versions that became stable since"),
    (r"^\.body\.metadata\.generation$", r"\d+", "1", "the generation of a pod is the server's, v1.33"),
    (r"^\.headers\.content-type$", r"text/plain; charset=utf-8", "application/json", "of /openapi/v2, v1.21"),
    (
        r"\.spec\.(volumes\[\d\]|(initContainers|containers)\[\d\]\.volumeMounts\[\d\])\.name$",
        "sa-token",
        r"kube-api-access-\w{5}",
        "tokens of pods are projected, v1.22",
    ),
    (r"\.resources\.\w+\.singularName$", "", r"[a-z]+", "discovery names the singular, v1.27"),
    (r"\.resources\.[\w/]+\.storageVersionHash$", r".{12}", r".{12}", "the stored version became another one"),
)
"""(path, recorded, ours, reason): regular expressions; GIVEN stands for the recorded text."""

GONE: tuple[tuple[str, str], ...] = (
    (r"\.(versions|groups)\.[\w.]*/?v\d+(alpha|beta)\d+$", "versions that are no longer served"),
    (r"\.versions\.[\w./]*v\d+(alpha|beta)\d+$", "versions that are no longer served"),
    (r"^\.body\.groups\.extensions$", "a group that is no longer served, v1.22"),
    (r"^\.body\.paths\./apis/[\w.]+/v\d+(alpha|beta)\d+(/.*)?$", "versions that are no longer served"),
    (r"^\.body\.paths\./apis/extensions(/.*)?$", "a group that is no longer served, v1.22"),
    (r"^\.body\.paths\./logs(/.*)?$", "the logs of the machine are not served unless asked for, v1.30"),
    (r"^\.body\.paths\./apis/[\w.]+\.example\.com$", "left behind by a scenario before"),
    (r"\.matchLabels\.controller-uid$", "Jobs select by the label with the group's prefix, v1.27"),
    (r"\.status\.(currentReplicas|conditions)$", "left out when they are empty: autoscaling/v2beta2 always had them"),
    (r"\.securityContext\.seccompProfile$", "seccomp annotations are no longer read, v1.27"),
    (r"\.fieldsV1\.f:metadata$", "what the system sets is cleared before fields are owned, v1.21"),
    (r"\.spec\.serviceName$", "optional, v1.34"),
    (r"\.spec\.volumes\[\d\]\.secret$", "tokens of pods are projected, v1.22"),
    (r"\.(f:|cells\.)?(a|A)ssuredConcurrencyShares$", "nominalConcurrencyShares, v1.26"),
    (r"^\.body\.columnDefinitions\.AssuredConcurrencyShares$", "nominalConcurrencyShares, v1.26"),
    (r"^\.body\.definitions\.[\w.-]+\.v\d+(alpha|beta)\d+\.\w+$", "versions that are no longer served"),
    (r"^\.body\.definitions\.io\.k8s\.api\.core\.v1\.Handler$", "split into two kinds of handlers, v1.23"),
)
"""Fields of a v1.20 recording that are no longer there."""

ADDED_PATHS = re.compile(
    r"^\.body\.(paths|resources|groups|versions|definitions)\.(?!.*v\d+(alpha|beta)\d+)[\w./{}-]+$"
)
"""Paths, resources and stable groups that came after v1.20."""


@dataclass(frozen=True)
class Otherwise:
    """A request that is answered quite otherwise today; each part is a regular expression, empty for any."""

    reason: str
    request: str = ""
    was: str = ""
    """`<code> <message>` of the recorded answer."""
    now: str = ""
    """The same of ours."""


OTHERWISE = (
    Otherwise("mistakes of clients are no errors of the server", was=r"500 ", now=r"4\d\d "),
    Otherwise(
        "a version or kind that is no longer served",
        r"/apis/(extensions|networking\.k8s\.io/v1beta1|batch/v1beta1|policy/v1beta1|[\w.]+/v\d+(alpha|beta)\d+)"
        r"|/podsecuritypolicies",
        was=r"20\d ",
        now=r"404 ",
    ),
    Otherwise("paths are listed at / only, v1.23", was=r"404 $", now=r"404 404 page not found"),
    Otherwise(
        "tokens of pods are projected, not kept in Secrets, v1.22", r"POST .*/pods", r"500 No API token found", "201 "
    ),
    Otherwise(
        "a Service can be replaced without its resourceVersion, v1.23",
        r"PUT .*/services/",
        r"422 .*must be specified",
        "200 ",
    ),
    Otherwise(
        "names of environment variables are relaxed, v1.34", r"POST .*/pods", r"422 .*environment variable name", "201 "
    ),
    Otherwise(
        "procMount is checked since it is stable, v1.36", r"POST .*/pods", "201 ", r"422 .*procMount: Unsupported"
    ),
    Otherwise(
        "init containers can be sidecars, v1.29",
        r"POST .*/pods",
        r"422 .*initContainers\[\d\]\.\w+Probe",
        r"422 .*Forbidden",
    ),
    Otherwise(
        "policies for termination messages are listed, v1.29",
        r"POST .*/pods",
        r"422 .*terminationMessagePolicy: Invalid",
        r"422 .*terminationMessagePolicy: Unsupported",
    ),
    Otherwise(
        "keys of a basic-auth Secret are named in the path, v1.22",
        r"POST .*/secrets",
        r"422 .*data\[%s\]\[username\]",
        r"422 .*data\[username\]",
    ),
    Otherwise(
        "a claim may shrink down to what it has, v1.23",
        r"PUT .*/persistentvolumeclaims/",
        r"422 .*less than previous value",
        r"422 .*spec is immutable",
    ),
    Otherwise(
        "host aliases are named by their position, v1.33",
        r"",
        r"422 .*spec\.hostAliases\.ip",
        r"422 .*hostAliases\[\d\]\.ip",
    ),
    Otherwise(
        "source ranges are named by their position, v1.33",
        r"POST .*/services",
        r"422 .*LoadBalancerSourceRanges",
        r"422 .*LoadBalancerSourceRanges\[\d\]",
    ),
    Otherwise("selectors of Services are atomic, v1.21", r"PATCH .*/services/", "200 ", r"409 .*\.spec\.selector$"),
    Otherwise(
        "applying a status ignores the rest of the object, v1.22", r"PATCH .*/status", r"409 .*\.spec\.replicas", "200 "
    ),
    Otherwise("scales have a table, v1.24", r"GET .*/scale", r"406 ", r"200 "),
    Otherwise(
        "a Job has a completionTime only when it is complete, v1.32",
        r"PATCH .*/jobs/j/status",
        r"200 ",
        r"422 .*no Complete=True condition",
    ),
    Otherwise("evictions are policy/v1, v1.22", r"POST .*/eviction", r'400 .*"policy/v1"', "201 "),
    Otherwise("deleted Services are answered with, v1.23", r"DELETE .*/services/", r"200 ", r"200 "),
    Otherwise("what is generated and taken is a conflict, v1.30", r"POST ", r"500 .*try again", r"409 .*unique name"),
)
"""Changes between v1.20 and v1.36 that change more than a field or a wording."""

DELIBERATE = (
    Otherwise(
        "health checks with nothing behind them here are left out",
        r"GET /(livez|readyz|healthz)\?verbose",
        was=r"200 \[\+\]",
    ),
)
"""Where we differ from v1.36 as well; docs/limits.md says so."""

DELIBERATE_FIELDS = (
    (r"^\.body\.paths\./(openid/v1/jwks|\.well-known/openid-configuration)/$", "OpenAPI leaves out two documents"),
    (r"^\.body\.paths\./(healthz|livez|readyz)/", "health checks with nothing behind them here are left out"),
    (r"\.managedFields$", "an empty list that is encoded as null has no owner"),
    (r"^\.body\.definitions\.io\.k8s\.metrics\.v1beta1\.", "resource metrics are served by the process itself"),
    (r"^\.body\.paths\./apis/metrics\.k8s\.io(/|$)", "resource metrics are served by the process itself"),
    (r"^\.body\.groups\.metrics\.k8s\.io$", "resource metrics are served by the process itself"),
)


def answered_otherwise(theirs: dict[str, Any], ours: dict[str, Any], request: dict[str, Any], *, old: bool) -> str:
    """The reason why a whole answer is another one, or an empty string."""
    asked = f"{request['method']} {request['path']}"
    was, now = _gist(theirs), _gist(ours)
    for rule in OTHERWISE if old else ():
        if re.search(rule.request, asked) and re.match(rule.was, was, re.DOTALL) and re.match(rule.now, now, re.DOTALL):
            return rule.reason
    for rule in DELIBERATE:
        if re.search(rule.request, asked) and re.match(rule.was, was, re.DOTALL) and re.match(rule.now, now, re.DOTALL):
            return rule.reason
    return ""


def _gist(answer: dict[str, Any]) -> str:
    body = answer.get("body")
    message = body.get("message", "") if isinstance(body, dict) else body if isinstance(body, str) else ""
    return f"{answer['code']} {message}"


def is_expected(difference: Difference, scenario: dict[str, Any], step: dict[str, Any]) -> str:
    """The reason why this difference is right, or an empty string."""
    if is_old(scenario) and (reason := _since_v1_20(difference)):
        return reason
    for pattern, reason in DELIBERATE_FIELDS:
        if re.search(pattern, difference.path):
            return reason
    if scenario["id"] == "k-crd-scope-immutable" and step["request"]["method"] == "PATCH":
        return "a definition is established before its creation is answered; see k-crd-scope-immutable-established"
    if scenario["id"] == "t-job" and difference.path.endswith(".cells.Completions") and difference.ours == "0/3":
        return "the status before was refused: a Job has a completionTime only when it is complete, v1.32"
    if scenario["id"] == "t-flowcontrol" and "fieldSelector=metadata.name%3Dgolden-tfs" in step["request"]["path"]:
        return "the condition Dangling is written within a millisecond"
    if scenario["id"] == "k-watch-old-rv" and ".events[0]" in difference.path:
        return "the recorded server had forgotten revision 1, ours remembers it"
    if difference.path.endswith(".metadata.resourceVersion") and "list-rv" in str(difference.recorded):
        return "revisions of lists are not comparable"
    return ""


def _since_v1_20(difference: Difference) -> str:
    path, recorded, ours = difference.path, difference.recorded, difference.ours
    if recorded is MISSING:
        for pattern, reason in ADDED_SINCE:
            if re.search(pattern, path):
                return reason
        if ADDED_PATHS.search(path):
            return "came after v1.20"
    if ours is MISSING:
        for pattern, reason in GONE:
            if re.search(pattern, path):
                return reason
    for pattern, was, now, reason in REPLACED:
        if (
            re.search(pattern, path)
            and (found := re.fullmatch(was, str(recorded), re.DOTALL))
            and re.fullmatch(now.replace("GIVEN", re.escape(found[0])), str(ours), re.DOTALL)
        ):
            return reason
    if ".managedFields" in path:
        for pattern, reason in OWNED_SINCE:
            if re.search(pattern, path):
                return reason
        if recorded is MISSING and "kubernetes.io/metadata.name" in str(ours):
            return "every namespace carries its name as a label, v1.21"
    if path.endswith(".creationTimestamp") and recorded is None:
        return "an unset creationTimestamp is no longer sent as null, v1.35"
    if re.search(r"\.status\.(resourceRules|nonResourceRules)\[", path):
        return "rules come in no promised order, and selfsubjectreviews are new (v1.28)"
    return ""
