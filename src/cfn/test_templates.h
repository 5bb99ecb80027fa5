// Templates that several tests use.
#pragma once

namespace weir::cfn {

// A gRPC service on Fargate behind a load balancer, with everything around it.
inline constexpr char kReferenceTemplate[] = R"yaml(AWSTemplateFormatVersion: "2010-09-09"
Description: gRPC service on Fargate behind an ALB (TLS 443, HTTP/2 to targets)
Parameters:
  Image: {Type: String}
  CertificateArn: {Type: String}
  ContainerPort: {Type: Number, Default: 50051}
  DesiredCount: {Type: Number, Default: 2}
Resources:
  Vpc:
    Type: AWS::EC2::VPC
    Properties: {CidrBlock: 10.0.0.0/16, EnableDnsSupport: true, EnableDnsHostnames: true}
  Igw: {Type: AWS::EC2::InternetGateway}
  IgwAttachment:
    Type: AWS::EC2::VPCGatewayAttachment
    Properties: {VpcId: !Ref Vpc, InternetGatewayId: !Ref Igw}
  SubnetA:
    Type: AWS::EC2::Subnet
    Properties: {VpcId: !Ref Vpc, CidrBlock: 10.0.0.0/24, AvailabilityZone: !Select [0, !GetAZs ""],
          MapPublicIpOnLaunch: true}
  SubnetB:
    Type: AWS::EC2::Subnet
    Properties: {VpcId: !Ref Vpc, CidrBlock: 10.0.1.0/24, AvailabilityZone: !Select [1, !GetAZs ""],
          MapPublicIpOnLaunch: true}
  Rt: {Type: AWS::EC2::RouteTable, Properties: {VpcId: !Ref Vpc}}
  DefaultRoute:
    Type: AWS::EC2::Route
    DependsOn: IgwAttachment
    Properties: {RouteTableId: !Ref Rt, DestinationCidrBlock: 0.0.0.0/0, GatewayId: !Ref Igw}
  RtA: {Type: AWS::EC2::SubnetRouteTableAssociation, Properties: {SubnetId: !Ref SubnetA,
        RouteTableId: !Ref Rt}}
  RtB: {Type: AWS::EC2::SubnetRouteTableAssociation, Properties: {SubnetId: !Ref SubnetB,
        RouteTableId: !Ref Rt}}
  AlbSg:
    Type: AWS::EC2::SecurityGroup
    Properties:
      GroupDescription: clients to ALB
      VpcId: !Ref Vpc
      SecurityGroupIngress: [{IpProtocol: tcp, FromPort: 443, ToPort: 443, CidrIp: 0.0.0.0/0}]
  TaskSg:
    Type: AWS::EC2::SecurityGroup
    Properties:
      GroupDescription: ALB to tasks
      VpcId: !Ref Vpc
      SecurityGroupIngress: [{IpProtocol: tcp, FromPort: !Ref ContainerPort, ToPort: !Ref ContainerPort,
            SourceSecurityGroupId: !GetAtt AlbSg.GroupId}]
  Alb:
    Type: AWS::ElasticLoadBalancingV2::LoadBalancer
    DependsOn: IgwAttachment
    Properties: {Type: application, Scheme: internet-facing, Subnets: [!Ref SubnetA, !Ref SubnetB],
          SecurityGroups: [!GetAtt AlbSg.GroupId]}
  Tg:
    Type: AWS::ElasticLoadBalancingV2::TargetGroup
    Properties:
      VpcId: !Ref Vpc
      TargetType: ip
      Protocol: HTTP
      ProtocolVersion: GRPC
      Port: !Ref ContainerPort
      HealthCheckPath: /grpc.health.v1.Health/Check
      Matcher: {GrpcCode: "0"}
      TargetGroupAttributes: [{Key: deregistration_delay.timeout_seconds, Value: "60"}]
  Https:
    Type: AWS::ElasticLoadBalancingV2::Listener
    Properties:
      LoadBalancerArn: !Ref Alb
      Port: 443
      Protocol: HTTPS
      Certificates: [{CertificateArn: !Ref CertificateArn}]
      DefaultActions: [{Type: forward, TargetGroupArn: !Ref Tg}]
  Logs: {Type: AWS::Logs::LogGroup, Properties: {RetentionInDays: 7}}
  ExecRole:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument: {Version: "2012-10-17", Statement: [{Effect: Allow,
            Principal: {Service: ecs-tasks.amazonaws.com}, Action: "sts:AssumeRole"}]}
      ManagedPolicyArns: [!Sub "arn:${AWS::Partition}:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"]
  Cluster: {Type: AWS::ECS::Cluster}
  TaskDef:
    Type: AWS::ECS::TaskDefinition
    Properties:
      RequiresCompatibilities: [FARGATE]
      NetworkMode: awsvpc
      Cpu: "256"
      Memory: "512"
      ExecutionRoleArn: !GetAtt ExecRole.Arn
      ContainerDefinitions:
        - Name: grpc
          Image: !Ref Image
          PortMappings: [{ContainerPort: !Ref ContainerPort}]
          LogConfiguration: {LogDriver: awslogs, Options: {awslogs-group: !Ref Logs,
                awslogs-region: !Ref "AWS::Region", awslogs-stream-prefix: grpc}}
  Service:
    Type: AWS::ECS::Service
    DependsOn: Https
    Properties:
      Cluster: !Ref Cluster
      LaunchType: FARGATE
      TaskDefinition: !Ref TaskDef
      DesiredCount: !Ref DesiredCount
      HealthCheckGracePeriodSeconds: 30
      DeploymentConfiguration: {MinimumHealthyPercent: 100, MaximumPercent: 200,
            DeploymentCircuitBreaker: {Enable: true, Rollback: true}}
      NetworkConfiguration: {AwsvpcConfiguration: {AssignPublicIp: ENABLED, Subnets: [!Ref SubnetA,
            !Ref SubnetB], SecurityGroups: [!GetAtt TaskSg.GroupId]}}
      LoadBalancers: [{TargetGroupArn: !Ref Tg, ContainerName: grpc, ContainerPort: !Ref ContainerPort}]
Outputs:
  Endpoint: {Value: !Sub "${Alb.DNSName}:443"}
)yaml";

inline constexpr char kTenMistakes[] = R"yaml(Description: ten mistakes
Resorces: {}
Parameters:
  Size: {Type: Strng, Default: x}
Conditions: {}
Resources:
  Vpc: {Type: AWS::EC2::VPC, Properties: {CidrBlock: 10.0.0.0/16}}
  V: {Type: AWS::EC2::VCP}
  SubnetA:
    Type: AWS::EC2::Subnet
    Properties:
      VpcId: !Ref Vcp
      AvailabiltyZone: us-east-1a
  Tg:
    Type: AWS::ElasticLoadBalancingV2::TargetGroup
    Properties:
      Port: http
      Protocol: HTPP
      Matcher: {GrcpCode: "0"}
      VpcId: {Fn::Joined: ["", [a]]}
      Port: 80
Outputs:
  O:
    Value: !GetAtt Vpc.VpcIdd
)yaml";

}  // namespace weir::cfn
