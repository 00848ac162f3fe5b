"""Which optional fields vanish when they have the zero value of their type: `hostNetwork: false`, `subPath: ""`.

In Go's types these are values, not pointers, marked `omitempty`: once decoded, zero cannot be told from absent, and
nothing is written for it. Every other optional field keeps what it was given, an explicit `optional: false` for
example. The published OpenAPI does not tell the two apart, so that the names stand here: what k8s.io/api declares.
"""

from __future__ import annotations

_NAMES = {
    "io.k8s.api.admissionregistration.v1": """
        ApplyConfiguration: expression
        JSONPatch: expression
        MutatingAdmissionPolicyBindingSpec: policyName
        MutatingAdmissionPolicySpec: reinvocationPolicy
        ParamKind: apiVersion kind
        ParamRef: name namespace
        ValidatingAdmissionPolicyStatus: observedGeneration
        Validation: message messageExpression
    """,
    "io.k8s.api.apps.v1": """
        DaemonSetCondition: message reason
        DaemonSetSpec: minReadySeconds
        DaemonSetStatus: numberAvailable numberUnavailable observedGeneration updatedNumberScheduled
        DaemonSetUpdateStrategy: type
        DeploymentCondition: message reason
        DeploymentSpec: minReadySeconds paused
        DeploymentStatus: availableReplicas observedGeneration readyReplicas replicas unavailableReplicas
            updatedReplicas
        DeploymentStrategy: type
        ReplicaSetCondition: message reason
        ReplicaSetSpec: minReadySeconds
        ReplicaSetStatus: availableReplicas fullyLabeledReplicas observedGeneration readyReplicas
        StatefulSetCondition: message reason
        StatefulSetPersistentVolumeClaimRetentionPolicy: whenDeleted whenScaled
        StatefulSetSpec: minReadySeconds podManagementPolicy serviceName
        StatefulSetStatus: currentReplicas currentRevision observedGeneration readyReplicas updateRevision
            updatedReplicas
        StatefulSetUpdateStrategy: type
    """,
    "io.k8s.api.authentication.v1": """
        BoundObjectReference: apiVersion kind name uid
        TokenReviewStatus: authenticated error
        UserInfo: uid username
    """,
    "io.k8s.api.authorization.v1": """
        FieldSelectorAttributes: rawSelector
        LabelSelectorAttributes: rawSelector
        NonResourceAttributes: path verb
        ResourceAttributes: group name namespace resource subresource verb version
        SelfSubjectRulesReviewSpec: namespace
        SubjectAccessReviewSpec: uid user
        SubjectAccessReviewStatus: denied evaluationError reason
        SubjectRulesReviewStatus: evaluationError
    """,
    "io.k8s.api.autoscaling.v1": """
        CrossVersionObjectReference: apiVersion
        ScaleSpec: replicas
        ScaleStatus: selector
    """,
    "io.k8s.api.autoscaling.v2": """
        CrossVersionObjectReference: apiVersion
        HorizontalPodAutoscalerCondition: message reason
    """,
    "io.k8s.api.batch.v1": """
        CronJobSpec: concurrencyPolicy
        JobCondition: message reason
        JobStatus: active completedIndexes failed succeeded
    """,
    "io.k8s.api.certificates.v1": """
        CertificateSigningRequestCondition: message reason
        CertificateSigningRequestSpec: uid username
    """,
    "io.k8s.api.core.v1": """
        AWSElasticBlockStoreVolumeSource: fsType partition readOnly
        AzureFilePersistentVolumeSource: readOnly
        AzureFileVolumeSource: readOnly
        CSIPersistentVolumeSource: fsType readOnly
        CephFSPersistentVolumeSource: path readOnly secretFile user
        CephFSVolumeSource: path readOnly secretFile user
        CinderPersistentVolumeSource: fsType readOnly
        CinderVolumeSource: fsType readOnly
        ComponentCondition: error message
        ConfigMapEnvSource: name
        ConfigMapKeySelector: name
        ConfigMapNodeConfigSource: resourceVersion uid
        ConfigMapProjection: name
        ConfigMapVolumeSource: name
        Container: image imagePullPolicy stdin stdinOnce terminationMessagePath terminationMessagePolicy tty
            workingDir
        ContainerImage: sizeBytes
        ContainerPort: hostIP hostPort name protocol
        ContainerStateTerminated: containerID message reason signal
        ContainerStateWaiting: message reason
        ContainerStatus: containerID
        EmptyDirVolumeSource: medium
        EndpointAddress: hostname
        EndpointPort: name protocol
        EnvFromSource: prefix
        EnvVar: value
        EphemeralContainer: image imagePullPolicy stdin stdinOnce targetContainerName terminationMessagePath
            terminationMessagePolicy tty workingDir
        Event: action count message reason type
        EventSeries: count
        EventSource: component host
        FCVolumeSource: fsType readOnly
        FlexPersistentVolumeSource: fsType readOnly
        FlexVolumeSource: fsType readOnly
        FlockerVolumeSource: datasetName datasetUUID
        GCEPersistentDiskVolumeSource: fsType partition readOnly
        GitRepoVolumeSource: directory revision
        GlusterfsPersistentVolumeSource: readOnly
        GlusterfsVolumeSource: readOnly
        HTTPGetAction: host path scheme
        ISCSIPersistentVolumeSource: chapAuthDiscovery chapAuthSession fsType iscsiInterface readOnly
        ISCSIVolumeSource: chapAuthDiscovery chapAuthSession fsType iscsiInterface readOnly
        ImageVolumeSource: pullPolicy reference
        LoadBalancerIngress: hostname ip
        LocalObjectReference: name
        NFSVolumeSource: readOnly
        NamespaceCondition: message reason
        NamespaceStatus: phase
        NodeCondition: message reason
        NodeConfigStatus: error
        NodeSpec: externalID podCIDR providerID unschedulable
        NodeStatus: phase
        ObjectFieldSelector: apiVersion
        ObjectReference: apiVersion fieldPath kind name namespace resourceVersion uid
        PersistentVolumeClaimCondition: message reason
        PersistentVolumeClaimSpec: volumeName
        PersistentVolumeClaimStatus: phase
        PersistentVolumeClaimVolumeSource: readOnly
        PersistentVolumeSpec: persistentVolumeReclaimPolicy storageClassName
        PersistentVolumeStatus: message phase reason
        PhotonPersistentDiskVolumeSource: fsType
        PodCertificateProjection: certificateChainPath credentialBundlePath keyPath
        PodCondition: message observedGeneration reason
        PodDNSConfigOption: name
        PodSpec: dnsPolicy hostIPC hostNetwork hostPID hostname nodeName priorityClassName restartPolicy
            schedulerName serviceAccount serviceAccountName subdomain
        PodStatus: hostIP message nominatedNodeName observedGeneration phase podIP qosClass reason resize
        PortworxVolumeSource: fsType readOnly
        Probe: failureThreshold initialDelaySeconds periodSeconds successThreshold timeoutSeconds
        QuobyteVolumeSource: group readOnly tenant user
        RBDPersistentVolumeSource: fsType keyring pool readOnly user
        RBDVolumeSource: fsType keyring pool readOnly user
        ReplicationControllerCondition: message reason
        ReplicationControllerSpec: minReadySeconds
        ReplicationControllerStatus: availableReplicas fullyLabeledReplicas observedGeneration readyReplicas
        ResourceClaim: request
        ResourceFieldSelector: containerName
        ResourceHealth: health
        SELinuxOptions: level role type user
        ScaleIOPersistentVolumeSource: fsType protectionDomain readOnly sslEnabled storageMode storagePool
            volumeName
        ScaleIOVolumeSource: fsType protectionDomain readOnly sslEnabled storageMode storagePool volumeName
        Secret: type
        SecretEnvSource: name
        SecretKeySelector: name
        SecretProjection: name
        SecretReference: name namespace
        SecretVolumeSource: secretName
        ServiceAccountTokenProjection: audience
        ServicePort: name nodePort protocol
        ServiceSpec: clusterIP externalName externalTrafficPolicy healthCheckNodePort loadBalancerIP
            publishNotReadyAddresses sessionAffinity type
        StorageOSPersistentVolumeSource: fsType readOnly volumeName volumeNamespace
        StorageOSVolumeSource: fsType readOnly volumeName volumeNamespace
        TCPSocketAction: host
        Taint: value
        Toleration: effect key operator value
        VolumeMount: readOnly subPath subPathExpr
        VolumeMountStatus: readOnly
        VsphereVirtualDiskVolumeSource: fsType storagePolicyID storagePolicyName
    """,
    "io.k8s.api.events.v1": """
        Event: action deprecatedCount note reason reportingController reportingInstance type
    """,
    "io.k8s.api.flowcontrol.v1": """
        FlowSchemaCondition: message reason status type
        PriorityLevelConfigurationCondition: message reason status type
        ResourcePolicyRule: clusterScope
    """,
    "io.k8s.api.networking.v1": """
        HTTPIngressPath: path
        IngressClassSpec: controller
        IngressLoadBalancerIngress: hostname ip
        IngressRule: host
        IngressTLS: secretName
        ParentReference: group namespace
        ServiceBackendPort: name number
    """,
    "io.k8s.api.policy.v1": """
        PodDisruptionBudgetStatus: observedGeneration
    """,
    "io.k8s.api.rbac.v1": """
        Subject: apiGroup namespace
    """,
    "io.k8s.api.resource.v1": """
        DeviceSubRequest: allocationMode count
        DeviceTaint: value
        DeviceToleration: effect key operator value
        ExactDeviceRequest: allocationMode count
        NetworkDeviceData: hardwareAddress interfaceName
        ResourceClaimConsumerReference: apiGroup
    """,
    "io.k8s.api.scheduling.v1": """
        PriorityClass: description globalDefault
    """,
    "io.k8s.api.storage.v1": """
        VolumeError: message
    """,
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1": """
        CustomResourceColumnDefinition: description format priority
        CustomResourceDefinitionCondition: message observedGeneration reason
        CustomResourceDefinitionNames: listKind singular
        CustomResourceDefinitionSpec: preserveUnknownFields
        CustomResourceDefinitionStatus: observedGeneration
        CustomResourceDefinitionVersion: deprecated
        ExternalDocumentation: description url
        JSONSchemaProps: $schema description exclusiveMaximum exclusiveMinimum format id nullable pattern title type
            uniqueItems x-kubernetes-embedded-resource x-kubernetes-int-or-string
        ValidationRule: fieldPath message messageExpression
    """,
    "io.k8s.apimachinery.pkg.apis.meta.v1": """
        APIResource: group storageVersionHash version
        Condition: observedGeneration
        ListMeta: continue resourceVersion selfLink
        ManagedFieldsEntry: apiVersion fieldsType manager operation subresource
        ObjectMeta: generateName generation name namespace resourceVersion selfLink uid
        Status: code message reason status
        StatusCause: field message reason
        StatusDetails: group kind name retryAfterSeconds uid
    """,
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1": """
        APIServiceCondition: message reason
        APIServiceSpec: group insecureSkipTLSVerify version
        ServiceReference: name namespace
    """,
}
"""Package → lines of `Kind: fields`; a line without a colon goes on with the fields of the one before."""


def _read(names: dict[str, str]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for package, text in names.items():
        definition = ""
        for line in text.strip().splitlines():
            kind, colon, fields = line.rpartition(":")
            if colon:
                definition = f"{package}.{kind.strip()}"
            found[definition] = found.get(definition, frozenset()) | frozenset(fields.split())
    return found


ZERO_IS_UNSET: dict[str, frozenset[str]] = _read(_NAMES)
"""OpenAPI definition → its fields that are strings, numbers or booleans and unset when they are zero."""
